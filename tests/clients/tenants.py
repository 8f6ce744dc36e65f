"""Two tenants through azure-mgmt-compute and azure-identity: an owner shares a gallery, and an application that has a service principal in each
makes a version of it in the other tenant, with a token of each.

    HTTPS_PROXY=http://127.0.0.1:8888 REQUESTS_CA_BUNDLE=ca.pem python tenants.py

The server was started with `--directory tests/clients/tenants.json`.
"""

import requests
from azure.core.exceptions import HttpResponseError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.core.policies import AuxiliaryAuthenticationPolicy

ARM = "https://management.azure.com"
SCOPE = f"{ARM}/.default"
TENANT_A, TENANT_B = "aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000"
SUBSCRIPTION_A, SUBSCRIPTION_B = "aaaaaaaa-1111-0000-0000-000000000000", "bbbbbbbb-1111-0000-0000-000000000000"
OWNER, APPLICATION = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000cc"
# The application's principal in the other tenant.
PRINCIPAL_B = "00000000-0000-0000-0000-0000000000bb"
READER, CONTRIBUTOR = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b24988ac-6180-42a0-ab88-20f7382dd24c"


def credential(tenant, client):
    return ClientSecretCredential(tenant, client, "any")


def put(who, path, body, version):
    """A call that the compute client has no method for."""
    headers = {"Authorization": f"Bearer {who.get_token(SCOPE).token}"}
    answer = requests.put(f"{ARM}{path}?api-version={version}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text


def refused(status, code, call):
    """Checks that a call is refused in this way."""
    try:
        call()
    except HttpResponseError as refusal:
        assert (refusal.status_code, refusal.error.code) == (status, code), (refusal.status_code, refusal.message)
        return refusal.error.message
    raise AssertionError(f"{code} was expected")


def main():
    owner = credential(TENANT_A, OWNER)
    group_a, group_b = (f"/subscriptions/{of}/resourceGroups/images" for of in (SUBSCRIPTION_A, SUBSCRIPTION_B))
    gallery_a = f"{group_a}/providers/Microsoft.Compute/galleries/shared"
    plain = {"location": "westus"}
    definition = {"location": "westus", "properties": {
        "osType": "Linux", "osState": "Generalized", "identifier": {"publisher": "a", "offer": "b", "sku": "c"}}}

    def of(source):
        return {"location": "westus", "properties": {"storageProfile": {"source": {"id": source}}}}

    # What the owner has, and the roles that the application is given: of its principal in each tenant.
    for group in (group_a, group_b):
        put(owner, group, plain, "2024-11-01")
    owns = ComputeManagementClient(owner, SUBSCRIPTION_A, polling_interval=0.2)
    groups = {"location": "westus", "properties": {"sharingProfile": {"permissions": "Groups"}}}
    owns.galleries.begin_create_or_update("images", "shared", groups).result()
    owns.gallery_images.begin_create_or_update("images", "shared", "web", definition).result()
    golden = f"{group_a}/providers/Microsoft.Compute/images/golden"
    owns.gallery_image_versions.begin_create_or_update("images", "shared", "web", "1.0.0", of(golden)).result()
    for scope, principal, role in [
        (gallery_a, APPLICATION, READER), (f"/subscriptions/{SUBSCRIPTION_B}", PRINCIPAL_B, CONTRIBUTOR)]:
        authorization = f"{scope}/providers/Microsoft.Authorization"
        properties = {"roleDefinitionId": f"{authorization}/roleDefinitions/{role}", "principalId": principal}
        put(owner, f"{authorization}/roleAssignments/{role}", {"properties": properties}, "2022-04-01")

    # A token of the other tenant counts there alone.
    in_b = credential(TENANT_B, APPLICATION)
    there = ComputeManagementClient(in_b, SUBSCRIPTION_B, polling_interval=0.2)
    there.galleries.begin_create_or_update("images", "copies", plain).result()
    there.gallery_images.begin_create_or_update("images", "copies", "web", definition).result()
    refused(403, "AuthorizationFailed",
            lambda: ComputeManagementClient(in_b, SUBSCRIPTION_A).galleries.get("images", "shared"))
    source = f"{gallery_a}/images/web/versions/1.0.0"
    create = ("images", "copies", "web", "1.0.0", of(source))
    told = refused(403, "LinkedAuthorizationFailed",
                   lambda: there.gallery_image_versions.begin_create_or_update(*create).result())
    assert f"the current tenant is not authorized to access linked subscription '{SUBSCRIPTION_A}'" in told, told

    # With one of each in `x-ms-authorization-auxiliary`, a version is made of the other tenant's.
    auxiliary = AuxiliaryAuthenticationPolicy([credential(TENANT_A, APPLICATION)], SCOPE)
    both = ComputeManagementClient(in_b, SUBSCRIPTION_B, polling_interval=0.2, per_retry_policies=[auxiliary])
    made = both.gallery_image_versions.begin_create_or_update(*create).result()
    assert made.properties.provisioning_state == "Succeeded", made.properties
    assert made.properties.storage_profile.source.id == source

    # Shared directly, the gallery is seen in the subscription that it is shared with.
    assert list(there.shared_galleries.list("westus")) == []
    add = {"operationType": "Add", "groups": [{"type": "Subscriptions", "ids": [SUBSCRIPTION_B]}]}
    owns.gallery_sharing_profile.begin_update("images", "shared", add).result()
    unique = f"{SUBSCRIPTION_A}-SHARED"
    assert [found.name for found in there.shared_galleries.list("westus")] == [unique]
    assert [found.name for found in there.shared_gallery_image_versions.list("westus", unique, "web")] == ["1.0.0"]
    owns.gallery_sharing_profile.begin_update("images", "shared", {"operationType": "Reset"}).result()
    assert list(there.shared_galleries.list("westus")) == []


if __name__ == "__main__":
    main()
    print("ok")
