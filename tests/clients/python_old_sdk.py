"""A life of a gallery through an old azure-mgmt-compute (23.1.0: api-version 2021-07-01), whose models are flat.

    python python_old_sdk.py http://127.0.0.1:8080
"""

import json
import sys
import urllib.request

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
    versions.begin_delete("old", "oldgallery", "web", "1.0.0").result()
    client.gallery_images.begin_delete("old", "oldgallery", "web").result()
    client.galleries.begin_delete("old", "oldgallery").result()
    assert list(client.galleries.list()) == []
    print("ok")


if __name__ == "__main__":
    main(sys.argv[1])
