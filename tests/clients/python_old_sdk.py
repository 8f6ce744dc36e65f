"""A life of a gallery through an old azure-mgmt-compute (23.1.0: api-version 2021-07-01), whose models are flat.

    python python_old_sdk.py http://127.0.0.1:8080
"""

import json
import sys
import urllib.request

from azure.core.exceptions import ResourceExistsError
from azure.core.pipeline.policies import HeadersPolicy
from azure.mgmt.compute import ComputeManagementClient

SUBSCRIPTION = "00000000-0000-0000-0000-000000000004"


class Anything:
    def get_token(self, *scopes, **options):
        raise AssertionError("the policy sets the header")


def main(base):
    policy = HeadersPolicy({"Authorization": "Bearer x"})
    client = ComputeManagementClient(
        Anything(), SUBSCRIPTION, base_url=base, authentication_policy=policy, polling_interval=0.2
    )
    group = f"{base}/subscriptions/{SUBSCRIPTION}/resourcegroups/old?api-version=2021-04-01"
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(group, json.dumps({"location": "westus"}).encode(), headers, method="PUT"))

    gallery = client.galleries.begin_create_or_update("old", "oldgallery", {"location": "westus"}).result()
    assert gallery.provisioning_state == "Succeeded"
    # A field that is younger than this api-version is not there.
    assert gallery.additional_properties == {}, gallery.additional_properties
    definition = {
        "location": "westus", "os_type": "Linux", "os_state": "Generalized",
        "identifier": {"publisher": "a", "offer": "b", "sku": "c"},
    }
    image = client.gallery_images.begin_create_or_update("old", "oldgallery", "web", definition).result()
    assert (image.os_type, image.hyper_v_generation, image.additional_properties) == ("Linux", "V1", {})
    source = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/old/providers/Microsoft.Compute/images/golden"
    new = {
        "location": "westus", "storage_profile": {"source": {"id": source}},
        "publishing_profile": {"target_regions": [{"name": "West US"}]},
    }
    versions = client.gallery_image_versions
    version = versions.begin_create_or_update("old", "oldgallery", "web", "1.0.0", new).result()
    assert version.provisioning_state == "Succeeded" and version.additional_properties == {}
    assert version.publishing_profile.target_regions[0].additional_properties == {}
    change = {"publishing_profile": {"target_regions": [{"name": "West US", "regional_replica_count": 2}]}}
    version = versions.begin_update("old", "oldgallery", "web", "1.0.0", change).result()
    assert version.publishing_profile.target_regions[0].regional_replica_count == 2
    assert [found.name for found in versions.list_by_gallery_image("old", "oldgallery", "web")] == ["1.0.0"]
    # From a VHD; then one region more, and what has children stays.
    vhd = {"location": "westus", "storage_profile": {"os_disk_image": {"source": {"uri": "https://a.blob.core.windows.net/v/os.vhd"}}}}
    version = versions.begin_create_or_update("old", "oldgallery", "web", "1.0.1", vhd).result()
    assert version.storage_profile.os_disk_image.source.uri == "https://a.blob.core.windows.net/v/os.vhd"
    change = {"publishing_profile": {"target_regions": [{"name": "West US"}, {"name": "eastus2"}], "exclude_from_latest": True}}
    versions.begin_update("old", "oldgallery", "web", "1.0.1", change).result()
    version = versions.get("old", "oldgallery", "web", "1.0.1", expand="ReplicationStatus")
    assert [(region.region, region.progress) for region in version.replication_status.summary] == [("West US", 100), ("East US 2", 100)]
    for call in (lambda: client.galleries.begin_delete("old", "oldgallery"),
                 lambda: client.gallery_images.begin_delete("old", "oldgallery", "web")):
        try:
            call().result()
            raise AssertionError("it has children")
        except ResourceExistsError as error:
            assert error.error.code == "CannotDeleteResource", error
    shared = {"location": "westus", "sharing_profile": {"permissions": "Groups"}}
    client.galleries.begin_create_or_update("old", "oldshared", shared).result()
    add = {"operation_type": "Add", "groups": [{"type": "Subscriptions", "ids": ["00000000-0000-0000-0000-000000000002"]}]}
    client.gallery_sharing_profile.begin_update("old", "oldshared", add).result()
    groups = client.galleries.get("old", "oldshared", select="Permissions").sharing_profile.groups
    assert groups[0].ids == ["00000000-0000-0000-0000-000000000002"], groups
    client.galleries.begin_delete("old", "oldshared").result()
    versions.begin_delete("old", "oldgallery", "web", "1.0.1").result()
    versions.begin_delete("old", "oldgallery", "web", "1.0.0").result()
    client.gallery_images.begin_delete("old", "oldgallery", "web").result()
    client.galleries.begin_delete("old", "oldgallery").result()
    assert list(client.galleries.list()) == []
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
