"""A whole life of a gallery through azure-mgmt-compute, each step's outcome checked.

    python python_sdk.py http://127.0.0.1:8080
"""

import sys
import json
import urllib.error
import urllib.request

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.policies import HeadersPolicy
from azure.mgmt.compute import ComputeManagementClient

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP, GALLERY, IMAGE = "MyGroup", "myGallery", "web"


class Anything:
    def get_token(self, *scopes, **options):
        raise AssertionError("the policy sets the header")


def raw(base, method, path, body=None, version="2024-11-01"):
    """A call that the compute client has no method for."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base}{path}?api-version={version}", data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def refused(error, code, call):
    """Checks that a call is refused in this way."""
    try:
        call()
    except error as refusal:
        assert refusal.error.code == code, (refusal.error.code, code, refusal.message)
        return refusal
    raise AssertionError(f"{code} was expected")


def value(enum):
    return getattr(enum, "value", enum)


def main(base):
    policy = HeadersPolicy({"Authorization": "Bearer x"})
    client = ComputeManagementClient(
        Anything(), SUBSCRIPTION, base_url=base, authentication_policy=policy, polling_interval=0.2
    )
    galleries, images, versions = client.galleries, client.gallery_images, client.gallery_image_versions
    group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}"

    # Without a group there is no gallery.
    plain = {"location": "westus", "tags": {"env": "test"}, "properties": {"description": "first"}}
    refused(ResourceNotFoundError, "ResourceGroupNotFound",
            lambda: galleries.begin_create_or_update(GROUP, GALLERY, plain).result())
    assert raw(base, "PUT", group, {"location": "westus"})[0] == 201
    assert raw(base, "PUT", group, {"location": "westus"})[0] == 200

    gallery = galleries.begin_create_or_update(GROUP, GALLERY, plain).result()
    assert value(gallery.properties.provisioning_state) == "Succeeded", gallery.properties
    assert gallery.properties.identifier.unique_name == f"{SUBSCRIPTION}-{GALLERY.upper()}"
    assert (gallery.location, gallery.tags, gallery.name) == ("westus", {"env": "test"}, GALLERY)
    gallery = galleries.begin_update(GROUP, GALLERY, {"properties": {"description": "second"}}).result()
    assert gallery.properties.description == "second" and gallery.tags == {"env": "test"}
    # Names are compared without case, and answered as they were given first.
    assert galleries.get(GROUP.lower(), GALLERY.upper()).name == GALLERY
    assert [found.name for found in galleries.list()] == [GALLERY]
    assert [found.name for found in galleries.list_by_resource_group(GROUP)] == [GALLERY]
    refused(ResourceNotFoundError, "ResourceNotFound", lambda: galleries.get(GROUP, "absent"))

    definition = {
        "location": "westus",
        "properties": {
            "osType": "linux", "osState": "Generalized", "hyperVGeneration": "V1",
            "identifier": {"publisher": "Contoso", "offer": "Web", "sku": "Frontend"},
            "recommended": {"vCPUs": {"min": 1, "max": 4}}, "eula": "none",
        },
    }
    image = images.begin_create_or_update(GROUP, GALLERY, IMAGE, definition).result()
    assert value(image.properties.os_type) == "Linux"
    assert value(image.properties.architecture) == "x64"
    changed = json.loads(json.dumps(definition))
    changed["properties"]["eula"] = "other"
    refusal = refused(ResourceExistsError, "PropertyChangeNotAllowed",
                      lambda: images.begin_create_or_update(GROUP, GALLERY, IMAGE, changed).result())
    assert refusal.error.target == "galleryImage.properties.eula", refusal.error.target
    refused(ResourceExistsError, "OperationNotAllowed",
            lambda: images.begin_create_or_update(GROUP, GALLERY, "twin", definition).result())
    image = images.begin_update(GROUP, GALLERY, IMAGE, {"properties": {"description": "a web server"}}).result()
    assert image.properties.description == "a web server"

    managed = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/images/golden"
    new = {
        "location": "westus",
        "properties": {
            "storageProfile": {"source": {"id": managed}},
            "publishingProfile": {"targetRegions": [{"name": "West US"}, {"name": "eastus2", "regionalReplicaCount": 2}]},
        },
    }
    version = versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.0", new).result()
    assert value(version.properties.provisioning_state) == "Succeeded"
    regions = version.properties.publishing_profile.target_regions
    seen = [(region.name, region.regional_replica_count, value(region.storage_account_type)) for region in regions]
    assert seen == [("West US", 1, "Standard_LRS"), ("East US 2", 2, "Standard_LRS")], seen
    assert version.properties.storage_profile.os_disk_image.size_in_gb == 30
    assert version.properties.replication_status is None
    status = versions.get(GROUP, GALLERY, IMAGE, "1.0.0", expand="ReplicationStatus").properties.replication_status
    assert value(status.aggregated_state) == "Completed", status
    assert [(region.region, region.progress) for region in status.summary] == [("West US", 100), ("East US 2", 100)]

    # The same again changes nothing; more regions may be asked for.
    versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.0", new).result()
    profile = {"targetRegions": [{"name": "westus", "regionalReplicaCount": 3}, {"name": "eastus2"}, {"name": "North Europe"}]}
    version = versions.begin_update(
        GROUP, GALLERY, IMAGE, "1.0.0", {"properties": {"publishingProfile": profile, "storageProfile": {}}}
    ).result()
    seen = [(region.name, region.regional_replica_count) for region in version.properties.publishing_profile.target_regions]
    assert seen == [("West US", 3), ("East US 2", 1), ("North Europe", 1)], seen
    # One region fewer needs leave.
    fewer = json.loads(json.dumps(new))
    fewer["properties"]["publishingProfile"]["targetRegions"] = [{"name": "westus"}, {"name": "eastus2"}]
    refusal = refused(HttpResponseError, "BadRequest",
                      lambda: versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.0", fewer).result())
    assert "Complete set of target locations not specified" in refusal.message, refusal.message
    fewer["properties"]["safetyProfile"] = {"allowDeletionOfReplicatedLocations": True}
    version = versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.0", fewer).result()
    assert [region.name for region in version.properties.publishing_profile.target_regions] == ["West US", "East US 2"]
    refused(HttpResponseError, "InvalidParameter",
            lambda: versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0", new).result())

    # From a VHD, watched: what is not done says so, and each region tells how far it is.
    account = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Storage/storageAccounts/blobs"
    vhd = {"source": {"uri": "https://blobs.blob.core.windows.net/vhds/os.vhd", "storageAccountId": account}, "hostCaching": "ReadOnly"}
    from_vhd = json.loads(json.dumps(new))
    from_vhd["properties"]["storageProfile"] = {"osDiskImage": vhd}
    poller = versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.10", from_vhd)
    states = [value(versions.get(GROUP, GALLERY, IMAGE, "1.0.10").properties.provisioning_state)]
    while not poller.done():
        poller.wait(0.3)
    version = versions.get(GROUP, GALLERY, IMAGE, "1.0.10", expand="ReplicationStatus")
    states.append(value(version.properties.provisioning_state))
    assert states in (["Creating", "Succeeded"], ["Succeeded", "Succeeded"]), states
    assert [region.progress for region in version.properties.replication_status.summary] == [100, 100]
    source = version.properties.storage_profile.os_disk_image
    assert (source.source.uri, source.size_in_gb) == (vhd["source"]["uri"], 30), source
    assert [found.name for found in versions.list_by_gallery_image(GROUP, GALLERY, IMAGE)] == ["1.0.0", "1.0.10"]

    # The latest is the highest number that is not excluded: a disk of the definition is one of it.
    definition_id = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/galleries/{GALLERY}/images/{IMAGE}"
    def disk_in(region):
        creation = {"createOption": "FromImage", "galleryImageReference": {"id": definition_id}}
        body = {"location": region, "properties": {"creationData": creation}}
        return raw(base, "PUT", f"{group}/providers/Microsoft.Compute/disks/of{region}", body, "2024-03-02")
    assert disk_in("westus")[0] in (200, 202)
    try:
        disk_in("japaneast")
        raise AssertionError("no version is there")
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())["error"]
        assert (error.code, told["code"], told["target"]) == (404, "GalleryImageNotFound", "imageReference"), told
    for number in ("1.0.0", "1.0.10"):
        exclude = {"properties": {"publishingProfile": {"excludeFromLatest": True}, "storageProfile": {}}}
        assert versions.begin_update(GROUP, GALLERY, IMAGE, number, exclude).result().properties.publishing_profile.exclude_from_latest
    try:
        disk_in("eastus2")
        raise AssertionError("each version is excluded")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error.code

    # From the top, nothing with children goes.
    refused(ResourceExistsError, "CannotDeleteResource", lambda: galleries.begin_delete(GROUP, GALLERY).result())
    refused(ResourceExistsError, "CannotDeleteResource", lambda: images.begin_delete(GROUP, GALLERY, IMAGE).result())

    # Soft delete, and back.
    policy = {"properties": {"softDeletePolicy": {"isSoftDeleteEnabled": True}}}
    galleries.begin_update(GROUP, GALLERY, policy).result()
    versions.begin_delete(GROUP, GALLERY, IMAGE, "1.0.10").result()
    refused(ResourceNotFoundError, "ResourceNotFound", lambda: versions.get(GROUP, GALLERY, IMAGE, "1.0.10"))
    deleted = list(client.soft_deleted_resource.list_by_artifact_name(GROUP, GALLERY, "Images", IMAGE))
    assert [found.name for found in deleted] == ["1.0.10"], deleted
    restore = {"properties": {"restore": True, "storageProfile": {}}}
    versions.begin_update(GROUP, GALLERY, IMAGE, "1.0.10", restore).result()
    assert versions.get(GROUP, GALLERY, IMAGE, "1.0.10").name == "1.0.10"
    for number in ("1.0.0", "1.0.10"):
        versions.begin_delete(GROUP, GALLERY, IMAGE, number, bypass_soft_delete=True).result()

    # Shared with another subscription.
    shared = {"location": "westus", "properties": {"sharingProfile": {"permissions": "Groups"}}}
    galleries.begin_create_or_update(GROUP, "sharedGallery", shared).result()
    add = {"operationType": "Add", "groups": [{"type": "Subscriptions", "ids": ["00000000-0000-0000-0000-000000000002"]}]}
    client.gallery_sharing_profile.begin_update(GROUP, "sharedGallery", add).result()
    seen = galleries.get(GROUP, "sharedGallery", select="Permissions").properties.sharing_profile
    assert seen.groups[0].ids == ["00000000-0000-0000-0000-000000000002"], seen
    assert galleries.get(GROUP, "sharedGallery").properties.sharing_profile.groups is None

    # What the other subscription sees of it, and makes of it: with a token of the owner's tenant beside its own.
    images.begin_create_or_update(GROUP, "sharedGallery", IMAGE, definition).result()
    versions.begin_create_or_update(GROUP, "sharedGallery", IMAGE, "1.0.0", new).result()
    both = HeadersPolicy({"Authorization": "Bearer x", "x-ms-authorization-auxiliary": "Bearer of-the-owners-tenant"})
    consumer = ComputeManagementClient(
        Anything(), "00000000-0000-0000-0000-000000000002", base_url=base, authentication_policy=both, polling_interval=0.2
    )
    unique = f"{SUBSCRIPTION}-SHAREDGALLERY"
    assert [found.name for found in consumer.shared_galleries.list("westus")] == [unique]
    shared_image = consumer.shared_gallery_images.get("westus", unique, IMAGE)
    assert shared_image.identifier.unique_id.lower() == f"/sharedgalleries/{unique}/images/{IMAGE}".lower(), shared_image.identifier
    assert [found.name for found in consumer.shared_gallery_image_versions.list("westus", unique, IMAGE)] == ["1.0.0"]
    refused(ResourceNotFoundError, "GalleryImageNotFound",
            lambda: consumer.shared_gallery_images.get("japaneast", unique, IMAGE))
    theirs = "/subscriptions/00000000-0000-0000-0000-000000000002/resourcegroups/theirs"
    assert raw(base, "PUT", theirs, {"location": "westus"})[0] == 201
    consumer.galleries.begin_create_or_update("theirs", "copies", {"location": "westus"}).result()
    consumer.gallery_images.begin_create_or_update("theirs", "copies", IMAGE, definition).result()
    copy = {"location": "westus", "properties": {"storageProfile": {"source": {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/galleries/sharedGallery/images/{IMAGE}/versions/1.0.0"}}}}
    made = consumer.gallery_image_versions.begin_create_or_update("theirs", "copies", IMAGE, "1.0.0", copy).result()
    assert value(made.properties.provisioning_state) == "Succeeded", made.properties
    consumer.gallery_image_versions.begin_delete("theirs", "copies", IMAGE, "1.0.0").result()
    consumer.gallery_images.begin_delete("theirs", "copies", IMAGE).result()
    consumer.galleries.begin_delete("theirs", "copies").result()
    client.gallery_sharing_profile.begin_update(GROUP, "sharedGallery", {"operationType": "Reset"}).result()
    assert list(consumer.shared_galleries.list("westus")) == []
    versions.begin_delete(GROUP, "sharedGallery", IMAGE, "1.0.0").result()
    images.begin_delete(GROUP, "sharedGallery", IMAGE).result()

    images.begin_delete(GROUP, GALLERY, IMAGE).result()
    galleries.begin_delete(GROUP, GALLERY).result()
    galleries.begin_delete(GROUP, "sharedGallery").result()
    galleries.begin_delete(GROUP, GALLERY).result()
    assert list(galleries.list()) == []
    assert raw(base, "DELETE", group)[0] in (200, 202)
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
