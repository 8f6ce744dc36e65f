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
await client.galleryImageVersions.delete("js", "jsgallery", "web", "1.0.0", options);
await client.galleryImages.delete("js", "jsgallery", "web", options);
await client.galleries.delete("js", "jsgallery", options);
await assert.rejects(client.galleries.get("js", "jsgallery"), (error) => error.statusCode === 404);
console.log("ok");
