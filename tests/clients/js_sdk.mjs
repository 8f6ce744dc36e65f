// A life of a gallery through @azure/arm-compute, by the proxy or an endpoint.
//
//     NODE_EXTRA_CA_CERTS=ca.pem node js_sdk.mjs https://127.0.0.1:8443
import assert from "node:assert/strict";
import { ComputeManagementClient } from "@azure/arm-compute";

const [endpoint] = process.argv.slice(2);
const subscription = "00000000-0000-0000-0000-000000000003";
const credential = { getToken: async () => ({ token: "x", expiresOnTimestamp: Date.now() + 3_600_000 }) };
const client = new ComputeManagementClient(credential, subscription, { endpoint });
const options = { updateIntervalInMs: 100 };

const rest = (method, path, body) =>
  fetch(`${endpoint}/subscriptions/${subscription}${path}?api-version=2024-11-01`, {
    method, body: body && JSON.stringify(body), headers: { Authorization: "Bearer x", "Content-Type": "application/json" },
  });
assert.equal((await rest("PUT", "/resourcegroups/js", { location: "westus" })).status, 201);

const gallery = await client.galleries.createOrUpdate("js", "jsgallery", { location: "westus" }, options);
assert.equal(gallery.provisioningState, "Succeeded");
const updated = await client.galleries.update("js", "jsgallery", { description: "second" }, options);
assert.equal(updated.description, "second");
const image = await client.galleryImages.createOrUpdate("js", "jsgallery", "web", {
  location: "westus", osType: "Linux", osState: "Generalized",
  identifier: { publisher: "Contoso", offer: "Web", sku: "Frontend" },
}, options);
assert.equal(image.osType, "Linux");
const id = `/subscriptions/${subscription}/resourceGroups/js/providers/Microsoft.Compute/images/golden`;
const version = await client.galleryImageVersions.createOrUpdate("js", "jsgallery", "web", "1.0.0", {
  location: "westus", storageProfile: { source: { id } }, publishingProfile: { targetRegions: [{ name: "West US" }] },
}, options);
assert.equal(version.provisioningState, "Succeeded");
assert.ok(version.publishingProfile.publishedDate instanceof Date);
await assert.rejects(client.galleries.delete("js", "jsgallery", options), (error) => error.code === "CannotDeleteResource");
const names = [];
for await (const found of client.galleryImageVersions.listByGalleryImage("js", "jsgallery", "web")) names.push(found.name);
assert.deepEqual(names, ["1.0.0"]);

// One region more, its replication, and a version of a VHD.
const more = { publishingProfile: { targetRegions: [{ name: "westus", regionalReplicaCount: 2 }, { name: "eastus2" }] }, storageProfile: {} };
await client.galleryImageVersions.update("js", "jsgallery", "web", "1.0.0", more, options);
const { replicationStatus } = await client.galleryImageVersions.get("js", "jsgallery", "web", "1.0.0", { expand: "ReplicationStatus" });
assert.deepEqual(replicationStatus.summary.map((of) => [of.region, of.progress]), [["West US", 100], ["East US 2", 100]]);
const uri = "https://a.blob.core.windows.net/v/os.vhd";
const ofVhd = await client.galleryImageVersions.createOrUpdate("js", "jsgallery", "web", "1.0.1", {
  location: "westus", storageProfile: { osDiskImage: { source: { uri }, hostCaching: "None" } },
}, options);
assert.equal(ofVhd.storageProfile.osDiskImage.source.uri, uri);
await assert.rejects(client.galleryImages.createOrUpdate("js", "jsgallery", "web", {
  location: "westus", osType: "Windows", osState: "Generalized", identifier: { publisher: "Contoso", offer: "Web", sku: "Frontend" },
}, options), (error) => error.statusCode === 409 && error.code === "PropertyChangeNotAllowed");

// Deleted softly, and back.
await client.galleries.update("js", "jsgallery", { softDeletePolicy: { isSoftDeleteEnabled: true } }, options);
await client.galleryImageVersions.delete("js", "jsgallery", "web", "1.0.1", options);
const deleted = [];
for await (const found of client.softDeletedResource.listByArtifactName("js", "jsgallery", "Images", "web")) deleted.push(found.name);
assert.deepEqual(deleted, ["1.0.1"]);
await client.galleryImageVersions.update("js", "jsgallery", "web", "1.0.1", { restore: true, storageProfile: {} }, options);
assert.equal((await client.galleryImageVersions.get("js", "jsgallery", "web", "1.0.1")).provisioningState, "Succeeded");
await client.galleries.update("js", "jsgallery", { softDeletePolicy: { isSoftDeleteEnabled: false } }, options);

// Shared with another subscription, which sees it.
await client.galleries.createOrUpdate("js", "jsshared", { location: "westus", sharingProfile: { permissions: "Groups" } }, options);
const ids = ["00000000-0000-0000-0000-000000000002"];
await client.gallerySharingProfile.update("js", "jsshared", { operationType: "Add", groups: [{ type: "Subscriptions", ids }] }, options);
assert.deepEqual((await client.galleries.get("js", "jsshared", { select: "Permissions" })).sharingProfile.groups[0].ids, ids);
const consumer = new ComputeManagementClient(credential, ids[0], { endpoint });
const seen = [];
for await (const found of consumer.sharedGalleries.list("westus")) seen.push(found.name);
assert.ok(seen.includes(`${subscription}-JSSHARED`), seen);
await client.gallerySharingProfile.update("js", "jsshared", { operationType: "Reset" }, options);
await client.galleries.delete("js", "jsshared", options);

await client.galleryImageVersions.delete("js", "jsgallery", "web", "1.0.1", options);
await client.galleryImageVersions.delete("js", "jsgallery", "web", "1.0.0", options);
await client.galleryImages.delete("js", "jsgallery", "web", options);
await client.galleries.delete("js", "jsgallery", options);
await assert.rejects(client.galleries.get("js", "jsgallery"), (error) => error.statusCode === 404);
console.log("ok");
