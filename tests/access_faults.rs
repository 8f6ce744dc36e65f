//! Ways in that were open once, each by its name.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as the test does")]

#[path = "access/world.rs"]
#[allow(unreachable_pub, dead_code, reason = "a test has no public face, and does not need all of it")]
mod world;

use std::time::Duration;

use compute_gallery::access::*;
use compute_gallery::model::*;
use compute_gallery::publish::NewSnapshot;
use compute_gallery::read::PublicGallery;
use compute_gallery::read::{EventKind, HistoryEntry};
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;
use world::*;

const DAY: Duration = Duration::from_secs(86_400);

fn subscription(name: &str) -> AccessScope {
    AccessScope::Subscription(name.parse().unwrap())
}

fn number(text: &str) -> ImageVersionId {
    image_id().version(text.parse().unwrap())
}

fn principal(id: &str) -> PrincipalId {
    id.parse().unwrap()
}

fn keeps_deleted() -> Gallery {
    gallery().with_soft_delete_policy(SoftDeletePolicy::enabled())
}

fn groups() -> SharingProfile {
    SharingProfile::new(SharingPermissions::Groups)
}

fn with(subscriptions: &[&str], tenants: &[&str]) -> SharingUpdate {
    SharingUpdate::Add {
        subscriptions: subscriptions.iter().map(|id| id.parse().unwrap()).collect(),
        tenants: tenants.iter().map(|id| id.parse().unwrap()).collect(),
    }
}

/// Denies everybody but `ci`.
fn deny(id: &str, actions: &[&str], scope: impl Into<AccessScope>) -> DenyAssignment {
    DenyAssignment::to_everybody_but(id, [principal("ci")], actions.iter().copied(), scope).unwrap()
}

fn deny_to(who: &str, id: &str, actions: &[&str], scope: impl Into<AccessScope>) -> DenyAssignment {
    DenyAssignment::to(id, [principal(who)], actions.iter().copied(), scope).unwrap()
}

fn role(id: &str, actions: &[&str], scopes: &[AccessScope]) -> RoleDefinition {
    let role = RoleDefinition::new(id, id).unwrap().with_actions(actions.iter().copied()).unwrap();
    role.with_assignable_scopes(scopes.to_vec())
}

fn of(id: &str, who: &str, role: &str, scope: impl Into<AccessScope>) -> RoleAssignment {
    RoleAssignment::new(id, principal(who), role.parse().unwrap(), scope).unwrap()
}

async fn deploys(session: &Session, image: impl Into<ImageRef>) -> bool {
    session.deploy(image, &region()).to_writer(Vec::new()).await.is_ok()
}

async fn deploys_public(session: &Session, id: &str) -> bool {
    session.deploy(id.parse::<PublicImageId>().unwrap(), region()).to_writer(Vec::new()).await.is_ok()
}

async fn forbidden<T: std::fmt::Debug>(operation: impl Future<Output = Result<T>>) -> Error {
    let error = operation.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
    error
}

// Assignments end with their resource (2.1).

/// A gallery with soft delete on, in which `ann` owns version 1.0.0 alone and `gus@contoso` is denied it.
async fn owned_version() -> World {
    let world = World::new().await;
    world.fill(keeps_deleted()).await;
    world.assign(assignment("1", "ann", BuiltInRole::Owner, version_id())).await;
    let root = world.session("root");
    root.deny(deny_to("gus@contoso", "no", &["*"], version_id())).await.unwrap();
    world.assign(assignment("2", "gus@contoso", BuiltInRole::Owner, subscription("dev"))).await;
    world
}

async fn nothing_of_ann_and_gus_is_left(world: &World, at: impl Into<AccessScope> + Clone) {
    let (ann, gus, root) = (world.session("ann"), world.session("gus"), world.session("root"));
    assert!(!ann.explain_access(Action::ReadVersion, &at.clone().into()).is_allowed());
    assert!(gus.explain_access(Action::ReadVersion, &at.clone().into()).is_allowed());
    let scope = at.into();
    assert!(root.view().role_assignments().iter().all(|one| one.scope != scope));
    assert!(root.view().deny_assignments().iter().all(|one| one.scope != scope));
}

#[test]
fn an_assignment_at_a_soft_deleted_version_is_not_passed_on_to_the_next_of_its_number() {
    block_on(async {
        let world = owned_version().await;
        let root = world.session("root");
        root.delete(version_id()).await.unwrap();
        world.sandbox.clock().advance(8 * DAY);
        root.publish(version(version_id(), disk())).await.unwrap();
        nothing_of_ann_and_gus_is_left(&world, version_id()).await;
        assert!(!deploys(&world.session("ann"), version_id()).await);
        forbidden(world.session("ann").delete(version_id())).await;
    });
}

#[test]
fn an_assignment_at_a_version_ends_with_the_retention_and_not_only_when_it_is_purged() {
    block_on(async {
        let world = owned_version().await;
        let root = world.session("root");
        let ann = world.session("ann");
        root.delete(version_id()).await.unwrap();
        // As long as it can be restored, it is still theirs.
        assert!(deploys(&ann, version_id()).await);
        world.sandbox.clock().advance(8 * DAY);
        nothing_of_ann_and_gus_is_left(&world, version_id()).await;
        assert_eq!(ann.view().image_versions(image_id(), None, 9).unwrap_err().kind(), ErrorKind::Forbidden);
        assert!(ann.history(0).collect::<Vec<_>>().await.is_empty());
        forbidden(ann.restore(version_id())).await;
        let purged = root.collect().await.unwrap();
        assert_eq!(purged.purged_versions, 1);
        nothing_of_ann_and_gus_is_left(&world, version_id()).await;
        root.publish(version(version_id(), disk())).await.unwrap();
        nothing_of_ann_and_gus_is_left(&world, version_id()).await;
    });
}

#[test]
fn an_assignment_at_a_gone_version_does_not_outlive_the_gallery_around_it() {
    block_on(async {
        for whole in [false, true] {
            let world = owned_version().await;
            let root = world.session("root");
            root.delete(version_id()).await.unwrap();
            world.sandbox.clock().advance(8 * DAY);
            // Gone children do not keep their parents.
            root.delete(image_id()).await.unwrap();
            if whole {
                root.delete(gallery_id()).await.unwrap();
                root.create_gallery(gallery()).await.unwrap();
            }
            nothing_of_ann_and_gus_is_left(&world, version_id()).await;
            root.create_image_definition(definition()).await.unwrap();
            root.publish(version(version_id(), disk())).await.unwrap();
            nothing_of_ann_and_gus_is_left(&world, version_id()).await;
            assert!(!deploys(&world.session("ann"), version_id()).await);
        }
    });
}

#[test]
fn assignments_at_and_below_end_with_what_is_deleted() {
    block_on(async {
        let targets: [ResourceId; 5] = [
            gallery_id().into(),
            image_id().into(),
            version_id().into(),
            flat::<ManagedImageId>("images").into(),
            flat::<SnapshotId>("snapshots").into(),
        ];
        for target in targets {
            let world = World::filled(None).await;
            let root = world.session("root");
            let all: Vec<AccessScope> = [
                gallery_id().into(),
                image_id().into(),
                version_id().into(),
                flat::<ManagedImageId>("images").into(),
                flat::<SnapshotId>("snapshots").into(),
            ]
            .into();
            for (place, scope) in all.iter().enumerate() {
                world.assign(assignment(&format!("a{place}"), "ann", BuiltInRole::Reader, scope.clone())).await;
                root.deny(deny_to("gus@contoso", &format!("d{place}"), &["*"], scope.clone())).await.unwrap();
            }
            root.delete(target.clone()).cascade().await.unwrap();
            let gone = AccessScope::from(target.clone());
            let below = |scope: &AccessScope| {
                std::iter::successors(Some(scope.clone()), AccessScope::parent).any(|one| one == gone)
            };
            let mut left: Vec<AccessScope> = all.iter().filter(|scope| !below(scope)).cloned().collect();
            let view = root.view();
            let mut assigned: Vec<_> = view.role_assignments().iter().map(|one| one.scope.clone()).collect();
            let mut denied: Vec<_> = view.deny_assignments().iter().map(|one| one.scope.clone()).collect();
            assigned.sort();
            denied.sort();
            left.sort();
            assert_eq!(assigned, left, "{target}");
            assert_eq!(denied, left, "{target}");
        }
    });
}

#[test]
fn a_restored_version_keeps_its_assignments() {
    block_on(async {
        let world = owned_version().await;
        let root = world.session("root");
        root.delete(version_id()).await.unwrap();
        world.sandbox.clock().advance(2 * DAY);
        root.restore(version_id()).await.unwrap();
        world.sandbox.clock().advance(30 * DAY);
        assert!(deploys(&world.session("ann"), version_id()).await);
        assert!(!deploys(&world.session("gus"), version_id()).await);
    });
}

#[test]
fn nothing_is_assigned_or_denied_at_what_does_not_exist() {
    block_on(async {
        let world = World::new().await;
        let root = world.session("root");
        let scopes: [AccessScope; 5] = [
            gallery_id().into(),
            image_id().into(),
            version_id().into(),
            flat::<ManagedImageId>("images").into(),
            flat::<SnapshotId>("snapshots").into(),
        ];
        for scope in scopes {
            let error = root.assign_role(assignment("1", "ann", BuiltInRole::Owner, scope.clone())).await.unwrap_err();
            assert_eq!(error.code(), "ResourceNotFound", "{error}");
            let error = root.deny(deny("1", &["*"], scope)).await.unwrap_err();
            assert_eq!(error.code(), "ResourceNotFound", "{error}");
        }
        world.fill(keeps_deleted()).await;
        root.delete(version_id()).await.unwrap();
        world.assign(assignment("1", "ann", BuiltInRole::Reader, version_id())).await;
        world.sandbox.clock().advance(8 * DAY);
        let late = root.assign_role(assignment("2", "ann", BuiltInRole::Reader, version_id())).await.unwrap_err();
        assert_eq!(late.code(), "ResourceNotFound", "{late}");
        // Resource groups and storage accounts are the host's: the gallery does not keep them.
        let group = AccessScope::ResourceGroup("dev".parse().unwrap(), "elsewhere".parse().unwrap());
        world.assign(assignment("3", "ann", BuiltInRole::Reader, group)).await;
    });
}

// Roles (2.2).

/// The role `r`, which reads, may be assigned in `dev` and in a resource group of `lab`'s tenant... and is `ann`'s in `dev`.
async fn role_in_two_places() -> (World, AccessScope, AccessScope) {
    let world = World::filled(None).await;
    let other: SubscriptionId = "dev2".parse().unwrap();
    world.directory.add_subscription(other.clone(), tenant("contoso"), None).unwrap();
    let (here, there) = (subscription("dev"), AccessScope::Subscription(other));
    let root = world.session("root");
    root.define_role(role("r", &["*/read"], &[here.clone(), there.clone()])).await.unwrap();
    root.assign_role(of("r1", "ann", "r", here.clone())).await.unwrap();
    world.assign(assignment("o1", "ci", BuiltInRole::Owner, there.clone())).await;
    (world, here, there)
}

#[test]
fn a_role_is_not_redefined_by_a_caller_without_rights_where_it_is_assigned() {
    block_on(async {
        let (world, here, there) = role_in_two_places().await;
        // The step that looked harmless.
        world.assign(assignment("o2", "ci", BuiltInRole::Owner, here.clone())).await;
        let narrowed = role("r", &["*/read"], std::slice::from_ref(&there));
        let error = world.session("ci").define_role(narrowed.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "RoleDefinitionHasAssignments"), "{error}");
        let error = world.session("root").define_role(narrowed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        world.session("root").define_role(role("r", &["*/read"], &[here, there])).await.unwrap();
        forbidden(world.session("ann").delete(version_id())).await;
    });
}

#[test]
fn a_role_is_not_widened_past_a_denial_where_it_is_assigned() {
    block_on(async {
        let (world, here, there) = role_in_two_places().await;
        world.assign(assignment("o2", "ci", BuiltInRole::Owner, here.clone())).await;
        let root = world.session("root");
        root.assign_role(of("r2", "ann", "r", gallery_id())).await.unwrap();
        root.deny(deny_to("ci", "no", &["Microsoft.Authorization/*/write"], gallery_id())).await.unwrap();
        // They may at both of its assignable scopes, and not at a gallery within where it is assigned.
        forbidden(world.session("ci").define_role(role("r", &["*"], &[here, there]))).await;
        forbidden(world.session("ann").delete(version_id())).await;
    });
}

#[test]
fn an_assigned_role_is_not_deleted_and_the_refusal_names_no_assignment_that_may_not_be_seen() {
    block_on(async {
        let (world, here, there) = role_in_two_places().await;
        let id = "r";
        let told = world.session("root").delete_role(id).await.unwrap_err();
        assert_eq!((told.kind(), told.code()), (ErrorKind::Conflict, "RoleDefinitionHasAssignments"));
        assert!(told.to_string().contains("r1"), "{told}");
        // A caller who may delete roles in both, and sees no assignments.
        let keeper = role("keeper", &["Microsoft.Authorization/roleDefinitions/*"], &[here.clone(), there.clone()]);
        world.session("root").define_role(keeper).await.unwrap();
        for (id, scope) in [("k1", &here), ("k2", &there)] {
            world.session("root").assign_role(of(id, "gus@contoso", "keeper", scope.clone())).await.unwrap();
        }
        let gus = world.session("gus");
        for error in [
            gus.delete_role(id).await.unwrap_err(),
            gus.define_role(role("r", &["*/read"], std::slice::from_ref(&there))).await.unwrap_err(),
        ] {
            assert_eq!(error.code(), "RoleDefinitionHasAssignments", "{error}");
            assert!(!error.to_string().contains("r1") && !error.to_string().contains("dev"), "{error}");
        }
    });
}

#[test]
fn a_role_whose_last_assignment_ended_with_a_version_can_be_deleted() {
    block_on(async {
        let world = World::new().await;
        world.fill(keeps_deleted()).await;
        let root = world.session("root");
        root.define_role(role("r", &["*/read"], &[subscription("dev")])).await.unwrap();
        root.assign_role(of("r1", "ann", "r", version_id())).await.unwrap();
        root.delete(version_id()).await.unwrap();
        assert_eq!(root.delete_role("r").await.unwrap_err().code(), "RoleDefinitionHasAssignments");
        world.sandbox.clock().advance(8 * DAY);
        root.delete_role("r").await.unwrap();
        // The log still reads, from its beginning.
        let view = world.other_service().await.session_of("root").refresh().await.unwrap();
        assert_eq!(view.number(), root.view().number());
    });
}

// Direct share (2.3).

const WEB: &str = "/SharedGalleries/dev-G/Images/web";

async fn shared(update: SharingUpdate) -> World {
    let world = World::filled(Some(groups())).await;
    world.session("root").share_gallery(gallery_id(), update).await.unwrap();
    world
}

#[test]
fn a_role_without_the_right_to_read_shared_galleries_does_not_open_one() {
    block_on(async {
        let world = shared(with(&["lab"], &[])).await;
        let root = world.session("root");
        let (bob, lab) = (world.session("bob"), subscription("lab"));
        root.define_role(role("nothing", &[], std::slice::from_ref(&lab))).await.unwrap();
        root.assign_role(of("1", "bob", "nothing", lab.clone())).await.unwrap();
        assert!(!deploys_public(&bob, WEB).await && bob.view().shared_galleries().is_empty());
        // Nor does a role at something within the subscription.
        let within = AccessScope::ResourceGroup("lab".parse().unwrap(), "some".parse().unwrap());
        world.assign(assignment("2", "bob", BuiltInRole::Owner, within)).await;
        assert!(!deploys_public(&bob, WEB).await && bob.view().shared_galleries().is_empty());
        world.assign(assignment("3", "bob", BuiltInRole::ComputeGalleryImageReader, lab.clone())).await;
        assert!(!deploys_public(&bob, WEB).await);
        root.define_role(role(
            "reads",
            &["Microsoft.Compute/locations/sharedGalleries/read"],
            std::slice::from_ref(&lab),
        ))
        .await
        .unwrap();
        root.assign_role(of("4", "bob", "reads", lab.clone())).await.unwrap();
        assert!(deploys_public(&bob, WEB).await && bob.view().shared_galleries().len() == 1);
        // A denial at the consumer's own subscription holds, too.
        root.deny(deny_to("bob", "no", &["Microsoft.Compute/locations/*"], lab)).await.unwrap();
        assert!(!deploys_public(&bob, WEB).await && bob.view().shared_galleries().is_empty());
    });
}

#[test]
fn a_role_from_above_the_subscription_opens_what_is_shared_with_it() {
    block_on(async {
        let world = shared(with(&["lab"], &[])).await;
        world.assign(assignment("1", "bob", BuiltInRole::Reader, AccessScope::TenantRoot(tenant("fabrikam")))).await;
        assert!(deploys_public(&world.session("bob"), WEB).await);
        assert_eq!(world.session("bob").view().shared_galleries().len(), 1);
        // A management group, too.
        let world = shared(with(&["dev"], &[])).await;
        let prod = AccessScope::ManagementGroup("prod".parse().unwrap());
        world.assign(assignment("1", "gus@contoso", BuiltInRole::Owner, prod)).await;
        assert!(deploys_public(&world.session("gus"), WEB).await);
    });
}

#[test]
fn a_guest_without_any_role_is_no_user_of_the_tenant_that_a_gallery_is_shared_with() {
    block_on(async {
        let world = shared(with(&[], &["contoso"])).await;
        world.directory.add_application("tool", &tenant("fabrikam")).unwrap();
        world.directory.consent("tool@contoso", &tenant("contoso"), "tool").unwrap();
        assert!(deploys_public(&world.session("ann"), WEB).await, "a user of the tenant");
        for (caller, account) in [("gus", "gus@contoso"), ("tool", "tool@contoso")] {
            let session = world.session(caller);
            assert!(!deploys_public(&session, WEB).await && session.view().shared_galleries().is_empty(), "{caller}");
            world.assign(assignment(caller, account, BuiltInRole::Reader, subscription("dev"))).await;
            assert!(deploys_public(&session, WEB).await && session.view().shared_galleries().len() == 1, "{caller}");
        }
        // Whom it is denied at the root of their tenant, it is denied.
        let root = world.session("root");
        let at = AccessScope::TenantRoot(tenant("contoso"));
        root.deny(deny_to("web", "no", &["Microsoft.Compute/locations/sharedGalleries/read"], at)).await.unwrap();
        assert!(!deploys_public(&world.session("ann"), WEB).await);
    });
}

// Denials (2.4).

#[test]
fn a_denial_holds_in_every_list_of_shared_galleries() {
    block_on(async {
        // `ann` is of the owner's tenant, `bob` of another.
        for who in ["ann", "bob"] {
            let world = shared(with(&[], &["contoso", "fabrikam"])).await;
            let (root, session) = (world.session("root"), world.session(who));
            let (gallery, image): (_, PublicImageId) = (PublicGallery::Shared("dev-G".into()), WEB.parse().unwrap());
            let version = format!("{WEB}/Versions/1.0.0");
            let seen = || {
                let view = session.view();
                (
                    view.shared_galleries().len(),
                    view.public_gallery(&gallery).is_ok(),
                    view.public_images(&gallery).map(|images| images.len()).ok(),
                    view.public_versions(&image, &region()).map(|versions| versions.len()).ok(),
                )
            };
            assert_eq!(seen(), (1, true, Some(1), Some(1)));
            root.deny(deny("no", &["*/versions/read"], gallery_id())).await.unwrap();
            assert_eq!(seen(), (1, true, Some(1), Some(0)), "{who}");
            assert!(!deploys_public(&session, WEB).await && !deploys_public(&session, &version).await);
            root.deny(deny("no images", &["*/images/read"], image_id())).await.unwrap();
            assert_eq!(seen(), (1, true, Some(0), None), "{who}");
            root.deny(deny("none", &["*"], gallery_id())).await.unwrap();
            assert_eq!(seen(), (0, false, None, None), "{who}");
        }
    });
}

#[test]
fn a_definition_that_is_denied_is_not_deployed_by_its_public_name() {
    block_on(async {
        for who in ["ann", "bob"] {
            let world = shared(with(&[], &["contoso", "fabrikam"])).await;
            assert!(deploys_public(&world.session(who), WEB).await);
            let root = world.session("root");
            root.deny(deny("no", &["Microsoft.Compute/galleries/images/read"], image_id())).await.unwrap();
            assert!(!deploys_public(&world.session(who), WEB).await);
            assert!(!deploys_public(&world.session(who), &format!("{WEB}/Versions/1.0.0")).await);
        }
    });
}

#[test]
fn a_denial_to_all_includes_consumers_of_a_community_gallery() {
    block_on(async {
        let info = CommunityGalleryInfo {
            publisher_uri: "https://contoso.example".into(),
            publisher_contact: "images@contoso.example".into(),
            eula: "free".into(),
            public_name_prefix: "contoso".into(),
        };
        let world = World::filled(Some(SharingProfile::community(info))).await;
        let root = world.session("root");
        let name = root.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap().public_name.unwrap();
        let id = format!("/CommunityGalleries/{name}/Images/web");
        for who in ["ann", "bob", "nobody"] {
            assert!(deploys_public(&world.session(who), &id).await, "{who}");
        }
        root.deny(deny("no", &["*"], gallery_id())).await.unwrap();
        for who in ["ann", "bob", "nobody"] {
            let session = world.session(who);
            assert!(!deploys_public(&session, &id).await, "{who}");
            assert!(session.view().public_gallery(&PublicGallery::Community(name.clone())).is_err(), "{who}");
        }
        // The one who is excepted, and the administrator.
        assert!(deploys_public(&world.session("ci"), &id).await && deploys_public(&root, &id).await);
    });
}

#[test]
fn a_snapshot_that_may_not_be_read_is_no_source() {
    block_on(async {
        let world = World::new().await;
        let root = world.session("root");
        world.fill(gallery()).await;
        let snapshot: SnapshotId = flat("snapshots");
        let os = NewSnapshot::of_os_disk(snapshot.clone(), region(), disk(), OsType::Linux, HyperVGeneration::V1);
        root.create_snapshot(os).await.unwrap();
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, subscription("dev"))).await;
        let ann = world.session("ann");
        root.deny(deny_to("ann", "no", &["*/snapshots/read"], &snapshot)).await.unwrap();
        let error = forbidden(ann.publish(version(number("1.0.1"), snapshot.clone()))).await;
        assert_eq!(error.code(), "LinkedAuthorizationFailed");
        root.deny(deny_to("ann", "nor", &["*/versions/read"], version_id())).await.unwrap();
        forbidden(ann.publish(version(number("1.0.1"), version_id()))).await;
    });
}

// Soft delete (2.5).

#[test]
fn a_soft_deleted_version_is_purged_only_with_the_right_to_switch_soft_delete() {
    block_on(async {
        let world = World::new().await;
        world.fill(keeps_deleted()).await;
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, subscription("dev"))).await;
        let (ann, root) = (world.session("ann"), world.session("root"));
        forbidden(ann.delete(version_id()).bypass_soft_delete()).await;
        forbidden(ann.delete(image_id()).cascade()).await;
        forbidden(ann.delete(gallery_id()).cascade()).await;
        assert!(!ann.delete(gallery_id()).cascade().plan().await.unwrap().is_possible());
        ann.delete(version_id()).await.unwrap();
        // A deleted version is kept as well, even after the policy is switched off.
        forbidden(ann.delete(version_id()).bypass_soft_delete()).await;
        root.update_gallery(gallery()).await.unwrap();
        forbidden(ann.delete(version_id())).await;
        forbidden(ann.delete(image_id()).cascade()).await;
        ann.restore(version_id()).await.unwrap();
        root.update_gallery(keeps_deleted()).await.unwrap();
        world.assign(assignment("2", "ann", BuiltInRole::ComputeGallerySharingAdmin, gallery_id())).await;
        ann.delete(gallery_id()).cascade().await.unwrap();
    });
}

#[test]
fn a_gallery_is_not_created_with_soft_delete_on_without_the_right_to_switch_it() {
    block_on(async {
        let world = World::new().await;
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, subscription("dev"))).await;
        forbidden(world.session("ann").create_gallery(keeps_deleted())).await;
        world.session("ann").create_gallery(gallery()).await.unwrap();
        let other: GalleryId =
            "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/h".parse().unwrap();
        world.assign(assignment("2", "ann", BuiltInRole::ComputeGallerySharingAdmin, subscription("dev"))).await;
        let keeps = Gallery::new(other, region()).with_soft_delete_policy(SoftDeletePolicy::enabled());
        world.session("ann").create_gallery(keeps).await.unwrap();
    });
}

// Leaks (2.6).

#[test]
fn a_denial_shows_its_victim_no_names() {
    block_on(async {
        let world = World::filled(None).await;
        let root = world.session("root");
        world.assign(assignment("1", "ann", BuiltInRole::ComputeGalleryImageReader, gallery_id())).await;
        let denial =
            deny_to("all", "no", &["*/versions/read"], version_id()).with_exceptions([principal("gus@contoso")]);
        root.deny(denial).await.unwrap();
        let ann = world.session("ann");
        let told = ann.explain_access(Action::ReadVersion, &version_id().into());
        assert!(matches!(told, Decision::Denied { .. }), "{told}");
        for text in
            [format!("{told:?}"), told.to_string(), ann.view().image_version(version_id()).unwrap_err().to_string()]
        {
            assert!(!text.contains("gus") && !text.contains("`all`"), "{text}");
        }
        world.assign(assignment("2", "ann", BuiltInRole::Reader, gallery_id())).await;
        let told = format!("{:?}", ann.explain_access(Action::ReadVersion, &version_id().into()));
        assert!(told.contains("gus@contoso") && told.contains("`all`"), "{told}");
    });
}

#[test]
fn history_shows_the_allowing_assignment_only_to_readers_of_assignments() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("secret", "web", BuiltInRole::Contributor, subscription("dev"))).await;
        world.session("ann").update_image_definition(definition().with_description("x")).await.unwrap();
        world.assign(assignment("1", "ci", BuiltInRole::ComputeGalleryImageReader, gallery_id())).await;
        let last = async |who: &str| {
            let commits: Vec<HistoryEntry> = world.session(who).history(0).map(Result::unwrap).collect().await;
            commits.into_iter().rfind(|one| one.event.kind == EventKind::ImageDefinitionUpdated).unwrap()
        };
        let told = format!("{:?}", last("ci").await);
        assert!(told.contains("ann") && !told.contains("secret") && !told.contains("web\""), "{told}");
        assert_eq!(last("ann").await.authorization.unwrap().assignment.unwrap().as_str(), "secret");
        // With rights at the gallery alone they do not see the subscription's assignments.
        world.assign(assignment("2", "ci", BuiltInRole::Reader, gallery_id())).await;
        assert!(!format!("{:?}", last("ci").await).contains("secret"));
        world.assign(assignment("3", "ci", BuiltInRole::Reader, subscription("dev"))).await;
        assert!(format!("{:?}", last("ci").await).contains("secret"));
    });
}

#[test]
fn an_assignments_id_reveals_nothing_of_a_hidden_scope() {
    block_on(async {
        let world = World::filled(None).await;
        let root = world.session("root");
        world.assign(assignment("taken", "web", BuiltInRole::Reader, subscription("dev"))).await;
        root.deny(deny_to("gus@contoso", "taken", &["*/delete"], subscription("dev"))).await.unwrap();
        let own = AccessScope::ResourceGroup("dev".parse().unwrap(), "anns".parse().unwrap());
        world.assign(assignment("1", "ann", BuiltInRole::Owner, own.clone())).await;
        let ann = world.session("ann");
        ann.assign_role(assignment("taken", "ci", BuiltInRole::Reader, own.clone())).await.unwrap();
        ann.deny(deny_to("ci", "taken", &["*/delete"], own.clone())).await.unwrap();
        let other = assignment("taken", "ci", BuiltInRole::Owner, own.clone());
        assert_eq!(ann.assign_role(other).await.unwrap_err().code(), "RoleAssignmentExists");
        // Each is taken away where it is, and the other stays.
        let id: AssignmentId = "taken".parse().unwrap();
        let refused = forbidden(ann.unassign_role(subscription("dev"), &id)).await;
        let absent = forbidden(ann.unassign_role(subscription("dev"), "absent")).await;
        assert_eq!(refused.to_string(), absent.to_string());
        ann.unassign_role(own.clone(), &id).await.unwrap();
        ann.undeny(own, &id).await.unwrap();
        let left = |view: CatalogView| {
            let assigned = view.role_assignments().iter().filter(|one| one.id == id).count();
            (assigned, view.deny_assignments().iter().filter(|one| one.id == id).count())
        };
        assert_eq!(left(root.view()), (1, 1));
        // As a checkpoint and the log tell it, too.
        assert_eq!(left(world.other_service().await.session_of("root").refresh().await.unwrap()), (1, 1));
    });
}

#[test]
fn an_empty_list_of_exceptions_denies_nothing_to_all() {
    let at = || subscription("dev");
    for refused in [DenyAssignment::to("no", [], ["*"], at()), DenyAssignment::to_everybody_but("no", [], ["*"], at())]
    {
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.target()), (ErrorKind::Invalid, "denyAssignment.principals"), "{error}");
    }
    let denial = DenyAssignment::to_everybody_but("no", [principal("ci")], ["*"], at()).unwrap();
    let written = serde_json::to_string(&denial).unwrap();
    assert_eq!(serde_json::from_str::<DenyAssignment>(&written).unwrap(), denial);
    let emptied = written.replace(r#"["ci"]"#, "[]");
    assert!(emptied != written && serde_json::from_str::<DenyAssignment>(&emptied).is_err(), "{emptied}");
}

#[test]
fn an_administrator_removes_a_denial_to_all() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("1", "ann", BuiltInRole::Owner, subscription("dev"))).await;
        let ann = world.session("ann");
        ann.deny(deny("no", &["*"], subscription("dev"))).await.unwrap();
        let id: AssignmentId = "no".parse().unwrap();
        forbidden(ann.undeny(subscription("dev"), &id)).await;
        world.session("root").undeny(subscription("dev"), &id).await.unwrap();
        assert!(ann.view().gallery(gallery_id()).is_ok());
    });
}

#[test]
fn a_directory_keeps_each_tenants_management_groups_to_itself() {
    let directory = directory();
    let (contoso, fabrikam) = (tenant("contoso"), tenant("fabrikam"));
    let (prod, absent): (ManagementGroupId, ManagementGroupId) = ("prod".parse().unwrap(), "absent".parse().unwrap());
    let theirs = directory.add_management_group("theirs", &fabrikam, None).unwrap();
    let web = directory.add_management_group("web", &contoso, Some(&prod)).unwrap();
    let lab: SubscriptionId = "lab".parse().unwrap();
    let refused = |result: Result<()>, kind: ErrorKind| assert_eq!(result.unwrap_err().kind(), kind);
    refused(directory.add_management_group("below", &fabrikam, Some(&prod)).map(drop), ErrorKind::Conflict);
    refused(directory.add_management_group("below", &fabrikam, Some(&absent)).map(drop), ErrorKind::NotFound);
    refused(directory.add_subscription(lab.clone(), fabrikam.clone(), Some(prod.clone())), ErrorKind::Conflict);
    refused(directory.add_subscription(lab.clone(), fabrikam.clone(), Some(absent.clone())), ErrorKind::NotFound);
    refused(directory.move_management_group(&web, Some(&theirs)), ErrorKind::Conflict);
    refused(directory.move_management_group(&prod, Some(&web)), ErrorKind::Conflict);
    refused(directory.move_management_group(&prod, Some(&prod)), ErrorKind::Conflict);
    refused(directory.move_management_group(&absent, None), ErrorKind::NotFound);
    assert_eq!(directory.tenant_of(&lab), Some(fabrikam.clone()), "what is refused changes nothing");
    assert!(directory.management_groups_of(&lab).is_empty());
    directory.add_subscription(lab.clone(), contoso, Some(web.clone())).unwrap();
    assert_eq!(directory.management_groups_of(&lab), [web.clone(), prod]);
    directory.move_management_group(&web, None).unwrap();
    assert_eq!(directory.management_groups_of(&lab), [web]);
}
