#!/bin/sh
# A whole life of a gallery through az, by the proxy: az is configured with nothing but HTTPS_PROXY and a CA file.
#
#   az.sh AZ PROXY CA        AZ is the program, PROXY http://127.0.0.1:PORT, CA the file that the server wrote
set -eu
AZ=$1
export HTTPS_PROXY=$2 REQUESTS_CA_BUNDLE=$3
AZURE_CONFIG_DIR=$(mktemp -d)
export AZURE_CONFIG_DIR AZURE_CORE_COLLECT_TELEMETRY=0 AZURE_CORE_NO_COLOR=1 AZURE_CORE_ONLY_SHOW_ERRORS=1
trap 'rm -rf "$AZURE_CONFIG_DIR"' EXIT

step=0
# Runs az and compares what it prints.
is() {
    step=$((step + 1)); expected=$1; shift
    got=$("$AZ" "$@" -o tsv 2>&1) || { echo "step $step failed: az $*: $got"; exit 1; }
    [ "$got" = "$expected" ] || { echo "step $step: az $*: expected '$expected', got '$got'"; exit 1; }
}
# Runs az, which must fail with a code.
fails() {
    step=$((step + 1)); exit=$1 code=$2; shift 2
    set +e; got=$("$AZ" "$@" 2>&1); status=$?; set -e
    [ "$status" = "$exit" ] || { echo "step $step: az $*: exit $exit expected, got $status: $got"; exit 1; }
    case $got in *"($code)"*) ;; *) echo "step $step: az $*: $code expected, got '$got'"; exit 1 ;; esac
}

SUB=00000000-0000-0000-0000-000000000000
is "$SUB" login --service-principal -u gallery -p any --tenant 11111111-1111-1111-1111-111111111111 --query "[0].id"
is false group exists -n azgroup
fails 3 ResourceGroupNotFound sig create -g azgroup -r azgallery -l westus2
is Succeeded group create -n azgroup -l westus2 --query properties.provisioningState
is Succeeded sig create -g azgroup -r azgallery --query provisioningState
is "$SUB-AZGALLERY" sig show -g azgroup -r azgallery --query identifier.uniqueName
is "" sig update -g azgroup -r azgallery --set description=mine --query "nothing"
is mine sig show -g azgroup -r azgallery --query description
is azgallery sig list -g azgroup --query "[].name"
is Succeeded sig image-definition create -g azgroup -r azgallery -i web --os-type linux --os-state generalized \
    -p Contoso -f Web -s Frontend --query provisioningState
is "V2 x64" sig image-definition show -g azgroup -r azgallery -i web --query "join(' ', [hyperVGeneration, architecture])"
is "a server" sig image-definition update -g azgroup -r azgallery -i web --set description="a server" --query description
IMAGE=/subscriptions/$SUB/resourceGroups/azgroup/providers/Microsoft.Compute/images/golden
is Succeeded sig image-version create -g azgroup -r azgallery -i web -e 1.0.0 --managed-image "$IMAGE" \
    --target-regions westus2=2=standard_zrs eastus2 --query provisioningState
is "Standard_ZRS" sig image-version show -g azgroup -r azgallery -i web -e 1.0.0 \
    --query "publishingProfile.targetRegions[0].storageAccountType"
is Completed sig image-version show -g azgroup -r azgallery -i web -e 1.0.0 --expand ReplicationStatus \
    --query replicationStatus.aggregatedState
is 3 sig image-version update -g azgroup -r azgallery -i web -e 1.0.0 --add publishingProfile.targetRegions name=northeurope \
    --query "length(publishingProfile.targetRegions)"
is Succeeded sig image-version create -g azgroup -r azgallery -i web -e 1.0.1 --managed-image "$IMAGE" --query provisioningState
is "" sig image-version wait -g azgroup -r azgallery -i web -e 1.0.1 --created
is "1.0.0
1.0.1" sig image-version list -g azgroup -r azgallery -i web --query "[].name"
fails 1 CannotDeleteResource sig delete -g azgroup -r azgallery
fails 1 CannotDeleteResource sig image-definition delete -g azgroup -r azgallery -i web
fails 1 PropertyChangeNotAllowed sig image-definition update -g azgroup -r azgallery -i web --set eula=other
fails 1 BadRequest sig image-version update -g azgroup -r azgallery -i web -e 1.0.0 --remove publishingProfile.targetRegions 2
# The latest, by a disk of the definition.
DEFINITION=/subscriptions/$SUB/resourceGroups/azgroup/providers/Microsoft.Compute/galleries/azgallery/images/web
is 30 disk create -g azgroup -n latest -l westus2 --gallery-image-reference "$DEFINITION/versions/1.0.1" --query diskSizeGB
fails 3 GalleryImageNotFound disk create -g azgroup -n nowhere -l japaneast --gallery-image-reference "$DEFINITION/versions/1.0.1"
fails 3 ResourceNotFound sig image-version show -g azgroup -r azgallery -i web -e 9.9.9
is "" sig image-version delete -g azgroup -r azgallery -i web -e 1.0.0
is "" sig image-version delete -g azgroup -r azgallery -i web -e 1.0.1
is "" sig image-definition delete -g azgroup -r azgallery -i web
is "" sig delete -g azgroup -r azgallery

is Groups sig create -g azgroup -r azshared --permissions groups --query sharingProfile.permissions
is "" sig share add -g azgroup -r azshared --subscription-ids 00000000-0000-0000-0000-000000000009 --query nothing
is 00000000-0000-0000-0000-000000000009 sig show -g azgroup -r azshared --select permissions --query "sharingProfile.groups[0].ids[0]"
# The other subscription, with a version of it in a gallery of its own.
is "$SUB-AZSHARED" sig list-shared -l westus2 --subscription "$SUB" --query "[].name"
is "" sig share reset -g azgroup -r azshared --query nothing
is "" sig list-shared -l westus2
ROLE=$("$AZ" role definition list -n Reader --query "[0].roleName" -o tsv)
[ "$ROLE" = Reader ] || { echo "role definitions: $ROLE"; exit 1; }
SCOPE=/subscriptions/$SUB/resourceGroups/azgroup/providers/Microsoft.Compute/galleries/azshared
is "$SCOPE" role assignment create --role Reader --assignee-object-id 33333333-3333-3333-3333-333333333333 \
    --assignee-principal-type ServicePrincipal --scope "$SCOPE" --query scope
is Reader role assignment list --scope "$SCOPE" --fill-principal-name false --query "[0].roleDefinitionName"
is "" role assignment delete --role Reader --assignee-object-id 33333333-3333-3333-3333-333333333333 --scope "$SCOPE"

# Sources of a version's disks, and az's flags.
is Succeeded disk create -g azgroup -n disk1 --size-gb 8 --query provisioningState
is Succeeded snapshot create -g azgroup -n snap --source disk1 --query provisioningState
is Succeeded image create -g azgroup -n img --os-type Linux --source https://a.blob.core.windows.net/v/os.vhd --query provisioningState
is true sig create -g azgroup -r azsoft --soft-delete true --query softDeletePolicy.isSoftDeleteEnabled
is web sig image-definition create -g azgroup -r azsoft -i web --os-type Linux --os-state Generalized -p P -f O -s S \
    --hyper-v-generation V1 --features SecurityType=Standard --end-of-life-date 2099-01-01 --query name
is "Succeeded Standard_LRS" sig image-version create -g azgroup -r azsoft -i web -e 1.0.0 --os-snapshot snap \
    --target-edge-zones westus=microsoftlosangeles1=1=standard_lrs \
    --query "join(' ', [provisioningState, publishingProfile.targetExtendedLocations[0].storageAccountType])"
is "Succeeded Standard_ZRS" sig image-version create -g azgroup -r azsoft -i web -e 1.0.1 --replica-count 2 \
    --os-vhd-uri https://a.blob.core.windows.net/v/os.vhd --os-vhd-storage-account sa --storage-account-type Standard_ZRS \
    --exclude-from-latest true --end-of-life-date 2099-01-01 \
    --query "join(' ', [provisioningState, publishingProfile.storageAccountType])"
is Shallow sig image-version create -g azgroup -r azsoft -i web -e 1.0.2 --managed-image img --replication-mode shallow \
    --query publishingProfile.replicationMode
is "" sig image-version delete -g azgroup -r azsoft -i web -e 1.0.0
is 1.0.0 sig image-version list-soft-deleted -g azgroup -r azsoft -i web --query "[].name"
is Succeeded sig image-version undelete -g azgroup -r azsoft -i web -e 1.0.0 --query provisioningState

# A template, with its validation.
cat >"$AZURE_CONFIG_DIR/gallery.json" <<'TEMPLATE'
{
  // Comments are taken.
  "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
  "parameters": {"name": {"type": "string"}, "location": {"type": "string", "defaultValue": "[resourceGroup().location]"}},
  "resources": [{
    "type": "Microsoft.Compute/galleries/images", "apiVersion": "2022-03-03", "name": "[format('{0}/web', parameters('name'))]",
    "location": "[parameters('location')]", "dependsOn": ["[resourceId('Microsoft.Compute/galleries', parameters('name'))]"],
    "properties": {"osType": "Linux", "osState": "Generalized", "identifier": {"publisher": "p", "offer": "o", "sku": "s"}}
  }, {
    "type": "Microsoft.Compute/galleries", "apiVersion": "2022-03-03", "name": "[parameters('name')]", "location": "[parameters('location')]"
  }]
}
TEMPLATE
is "Create
Create" deployment group what-if -g azgroup -n first --template-file "$AZURE_CONFIG_DIR/gallery.json" --parameters name=aztemplate \
    --no-pretty-print --query "changes[?changeType=='Create'].changeType"
is Succeeded deployment group create -g azgroup -n first --template-file "$AZURE_CONFIG_DIR/gallery.json" --parameters name=aztemplate \
    --query properties.provisioningState
is "aztemplate
aztemplate/web" deployment operation group list -g azgroup -n first --query "[].properties.targetResource.resourceName"
is web sig image-definition list -g azgroup -r aztemplate --query "[].name"
is "" deployment group delete -g azgroup -n first
is "" group delete -n azgroup --yes
is false group exists -n azgroup
echo "ok: $step steps"
