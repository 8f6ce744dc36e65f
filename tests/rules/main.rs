//! The rule book, rule by rule, through the public face. `docs/rules.md` lists every rule with the test that holds it, and the
//! modules here follow its headings.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

mod deletion;
mod end_of_life;
mod galleries;
mod limits;
mod lists;
mod machines;
mod names;
mod operations;
mod regions;
mod scenarios;
mod sources;
mod table;
mod updates;
mod versions;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use compute_gallery::disk::{DiskFormat, DiskSource};
use compute_gallery::model::*;
use compute_gallery::publish::{LocalDisks, NewManagedImage};
use compute_gallery::store::MemoryStore;
use compute_gallery::testkit::{ManualClock, Sandbox, SandboxBuilder, raw, region};
use compute_gallery::*;
use futures::executor::block_on;

fn now() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn gallery_id(name: &str) -> GalleryId {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/{name}").parse().unwrap()
}

fn image_id() -> ImageDefinitionId {
    gallery_id("g").image("web".parse().unwrap())
}

fn version_id(number: &str) -> ImageVersionId {
    image_id().version(number.parse().unwrap())
}

fn flat<T: std::str::FromStr<Err = Error>>(kind: &str, name: &str) -> T {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/{kind}/{name}").parse().unwrap()
}

/// The gallery that a filled sandbox has.
fn gallery() -> Gallery {
    Gallery::new(gallery_id("g"), region("westeurope"))
}

fn definition_of(id: ImageDefinitionId, sku: &str) -> ImageDefinition {
    let identifier = ImageIdentifier::new("Contoso", "Web", sku).unwrap();
    ImageDefinition::new(id, region("westeurope"), OsType::Linux, OsState::Generalized, identifier)
}

/// The definition that a filled sandbox has.
fn definition() -> ImageDefinition {
    definition_of(image_id(), "Frontend")
}

fn disk(seed: u8) -> DiskSource {
    raw(vec![seed; 4096])
}

fn profile(regions: &str) -> PublishingProfile {
    PublishingProfile::new(regions.parse().unwrap())
}

fn version(number: &str, regions: &str) -> NewImageVersion {
    NewImageVersion::new(version_id(number), region("westeurope"), profile(regions), disk(1))
}

/// One store for every region of the world, and a clock that stands still.
fn settings() -> SandboxBuilder {
    Sandbox::builder().one_store(MemoryStore::new()).clock(ManualClock::new(now()))
}

async fn built(settings: SandboxBuilder) -> Sandbox {
    settings.build().await.unwrap()
}

/// With a gallery and a definition.
async fn filled() -> Sandbox {
    built(settings()).await
}

/// Without a gallery.
async fn empty() -> Sandbox {
    built(settings().empty()).await
}

async fn publish(sandbox: &Sandbox, number: &str, regions: &str) -> ImageVersion {
    let published = sandbox.session().publish(version(number, regions)).await.unwrap().resource;
    sandbox.session().replicate(published.id()).await.unwrap();
    published
}

/// The problems of a publish; planning reports the same as running.
async fn refused(sandbox: &Sandbox, new: impl Fn() -> NewImageVersion) -> Error {
    let plan = sandbox.session().publish(new()).plan().await.unwrap();
    let error = sandbox.session().publish(new()).await.unwrap_err();
    assert_eq!(plan.problems, error.problems().cloned().collect::<Vec<_>>());
    error
}

fn latest(sandbox: &Sandbox, place: &str) -> Option<String> {
    let latest = sandbox.session().view().latest(&image_id(), &region(place));
    latest.ok().map(|version| version.id().number().to_string())
}

async fn current(sandbox: &Sandbox, number: &str) -> Arc<ImageVersion> {
    sandbox.session().refresh().await.unwrap().image_version(version_id(number)).unwrap()
}

/// Code and message of the only problem.
#[track_caller]
fn one(error: Error, code: &str, says: &str) {
    let problems: Vec<_> = error.problems().collect();
    assert_eq!(problems.len(), 1, "{error}");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

async fn managed_image(session: &Session, name: &str, place: &str) -> ManagedImageId {
    let id: ManagedImageId = flat("images", name);
    let disks = LocalDisks::new(disk(7)).with_data_disk(2, disk(8));
    let new = NewManagedImage::new(id.clone(), region(place), OsType::Linux, disks);
    session.create_managed_image(new).await.unwrap();
    id
}

async fn bytes_of(session: &Session, id: impl Into<ImageRef>, lun: Option<u32>) -> Vec<u8> {
    let deployment = session.deploy(id, "westeurope");
    let deployment = if let Some(lun) = lun { deployment.data_disk(lun) } else { deployment };
    deployment.to_writer(Vec::new()).await.unwrap().1
}
