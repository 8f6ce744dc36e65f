"""A whole life of a gallery through azure-mgmt-compute, each step's outcome checked.

    python python_sdk.py http://127.0.0.1:8080
"""

import sys
import urllib.request
import json

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

    # The same again changes nothing; one region fewer needs leave.
    versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.0", new).result()
    profile = {"targetRegions": [{"name": "westus", "regionalReplicaCount": 3}, {"name": "eastus2"}, {"name": "North Europe"}]}
    version = versions.begin_update(
        GROUP, GALLERY, IMAGE, "1.0.0", {"properties": {"publishingProfile": profile, "storageProfile": {}}}
    ).result()
    seen = [(region.name, region.regional_replica_count) for region in version.properties.publishing_profile.target_regions]
    assert seen == [("West US", 3), ("East US 2", 1), ("North Europe", 1)], seen
    refused(HttpResponseError, "InvalidParameter",
            lambda: versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0", new).result())
    versions.begin_create_or_update(GROUP, GALLERY, IMAGE, "1.0.10", new).result()
    assert [found.name for found in versions.list_by_gallery_image(GROUP, GALLERY, IMAGE)] == ["1.0.0", "1.0.10"]

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

    images.begin_delete(GROUP, GALLERY, IMAGE).result()
    galleries.begin_delete(GROUP, GALLERY).result()
    galleries.begin_delete(GROUP, "sharedGallery").result()
    galleries.begin_delete(GROUP, GALLERY).result()
    assert list(galleries.list()) == []
    assert raw(base, "DELETE", group)[0] in (200, 202)
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
