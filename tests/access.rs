//! Who may do what: the decision table, random worlds against an oracle, and every operation without rights.
#![cfg(feature = "testkit")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail as the test does")]

#[path = "access/world.rs"]
#[allow(unreachable_pub, reason = "a test has no public face")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Cursor;

use compute_gallery::access::*;
use compute_gallery::billing::Prices;
use compute_gallery::change::LifecyclePolicy;
use compute_gallery::deploy::OsProfile;
use compute_gallery::model::*;
use compute_gallery::publish::{NewManagedImage, NewSnapshot, VhdBlob};
use compute_gallery::read::HistoryEntry;
use compute_gallery::read::{ListScope, OperationId, PublicGallery};
use compute_gallery::testkit::Sandbox;
use compute_gallery::*;
use futures::StreamExt;
use futures::executor::block_on;
use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};
use world::*;

// The decision table.

/// Principal x scope of the role x role: what of gallery, definition and version may be done.
fn table() -> String {
    let directory = directory();
    let mut table = String::from("caller through at role gallery image version\n");
    let callers = [
        ("ann", "ann"),
        ("ann", "web"),
        ("ann", "all"),
        ("ci", "ci"),
        ("gus", "gus@contoso"),
        ("gus", "gus"),
        ("bob", "bob"),
    ];
    for (caller, principal) in callers {
        for (place, scope) in scopes().into_iter().enumerate() {
            for role in BuiltInRole::ALL.iter().copied() {
                let mut policy = AccessPolicy::new();
                policy.assign(assignment("1", principal, role, scope.clone()));
                let may = |scope: AccessScope, actions: &[Action]| -> String {
                    let letter = |action: &Action| match decide(&policy, &directory, caller, *action, &scope) {
                        Decision::Allowed(_) => action.as_str().rsplit('/').next().unwrap().chars().next().unwrap(),
                        _ => '-',
                    };
                    actions.iter().map(letter).collect()
                };
                use Action::*;
                let gallery = may(gallery_id().into(), &[ReadGallery, WriteGallery, DeleteGallery, ShareGallery]);
                let image = may(image_id().into(), &[ReadImage, WriteImage, DeleteImage]);
                let version = may(version_id().into(), &[ReadVersion, WriteVersion, DeleteVersion]);
                let at = ["tenant", "managementGroup", "subscription", "group", "gallery", "image", "version"];
                let at = at.get(place).unwrap();
                writeln!(table, "{caller} {principal} {at} {role:?} {gallery} {image} {version}").unwrap();
            }
        }
    }
    table
}

/// As a service decides, on a policy of its own.
fn decide(
    policy: &AccessPolicy,
    directory: &dyn Directory,
    caller: &str,
    action: Action,
    scope: &AccessScope,
) -> Decision {
    let tenant = scope.subscription().and_then(|subscription| directory.tenant_of(subscription));
    let accounts = directory.memberships(&caller.parse().unwrap());
    let Some(account) = accounts.into_iter().find(|account| Some(&account.tenant) == tenant.as_ref()) else {
        return Decision::NotInTenant { subscription: scope.subscription().cloned() };
    };
    let mut above: Vec<AccessScope> = std::iter::successors(Some(scope.clone()), AccessScope::parent).collect();
    if let Some(subscription) = scope.subscription() {
        above.extend(directory.management_groups_of(subscription).into_iter().map(AccessScope::ManagementGroup));
    }
    above.extend(tenant.map(AccessScope::TenantRoot));
    policy.decide(&account.principal, &account.groups, action, &above)
}

#[test]
fn the_decision_table_is_as_it_was() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/access/decisions.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, table()).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (line, (now, then)) in table().lines().zip(golden.lines()).enumerate() {
        assert_eq!(now, then, "line {}; UPDATE_GOLDEN=1 writes the table anew", line + 1);
    }
    assert_eq!(golden.lines().count(), 1 + 7 * 7 * 9);
}

// Random worlds.

/// A small world: principals are numbers, groups contain lower numbers only.
#[derive(Debug)]
struct Toy {
    /// The groups that a principal is in.
    groups: BTreeMap<usize, BTreeSet<usize>>,
    /// Role number, principal, depth of the scope on the only path.
    grants: Vec<(usize, usize, usize)>,
    /// To whom (everybody where empty), except whom, action, depth.
    denials: Vec<(BTreeSet<usize>, BTreeSet<usize>, usize, usize)>,
    /// The actions that each custom role allows.
    roles: Vec<BTreeSet<usize>>,
}

/// The scopes of a toy world: those on the path to the version, and two beside it.
fn toy_scopes() -> Vec<AccessScope> {
    let beside = gallery_id().image("other".parse().unwrap());
    let mut scopes = scopes();
    scopes.extend([beside.into(), AccessScope::Subscription("lab".parse().unwrap())]);
    scopes
}

/// How many of them are on the path.
const ON_PATH: usize = 7;

/// Written from the rules alone: the union of all assignments of the caller and their groups at the scope and above; deny
/// assignments beat it.
fn oracle(world: &Toy, caller: usize, action: usize, depth: usize) -> bool {
    let mut who = BTreeSet::from([caller]);
    loop {
        let more: BTreeSet<usize> = who.iter().filter_map(|id| world.groups.get(id)).flatten().copied().collect();
        if more.is_subset(&who) {
            break;
        }
        who.extend(more);
    }
    for (principals, excluded, denied, at) in &world.denials {
        let concerned = principals.is_empty() || !principals.is_disjoint(&who);
        if *denied == action && *at <= depth && *at < ON_PATH && concerned && excluded.is_disjoint(&who) {
            return false;
        }
    }
    world.grants.iter().any(|(role, principal, at)| {
        who.contains(principal)
            && *at <= depth
            && *at < ON_PATH
            && world.roles.get(*role).is_some_and(|role| role.contains(&action))
    })
}

#[test]
fn ten_thousand_random_worlds_agree_with_the_oracle() {
    use proptest::prelude::*;
    let set = |most: usize| prop::collection::btree_set(0_usize..12, 0..most);
    let actions = Action::ALL.len();
    let worlds = (
        prop::collection::btree_map(0_usize..8, prop::collection::btree_set(8_usize..12, 0..3), 0..8),
        prop::collection::btree_set((8_usize..12, 8_usize..12), 0..4),
        prop::collection::vec((0_usize..3, 0_usize..12, 0_usize..9), 0..6),
        prop::collection::vec((set(3), set(2), 0..actions, 0_usize..9), 0..3),
        prop::collection::vec(prop::collection::btree_set(0..actions, 0..8), 3),
        prop::collection::vec((0_usize..8, 0..actions, 0_usize..7), 12),
    );
    // Cases that have failed once are tried first from then on.
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/access/regressions.txt");
    let failure_persistence: Option<Box<dyn FailurePersistence>> =
        Some(Box::new(FileFailurePersistence::Direct(corpus)));
    let config = Config { cases: 10_000, failure_persistence, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let compare = |(mut groups, nested, grants, denials, roles, asked): (_, _, _, _, _, Vec<(usize, usize, usize)>)| {
        for (lower, higher) in nested {
            // Groups contain groups of lower numbers only: no circles.
            if lower < higher {
                let above: &mut BTreeSet<usize> = BTreeMap::entry(&mut groups, lower).or_default();
                above.insert(higher);
            }
        }
        let world = Toy { groups, grants, denials, roles };
        let (policy, directory) = real(&world);
        let depths = scopes();
        for (caller, action, depth) in asked {
            let scope = depths.get(depth).unwrap();
            let above: Vec<AccessScope> = depths.iter().take(depth + 1).rev().cloned().collect();
            let account = directory.memberships(&format!("p{caller}").parse().unwrap()).remove(0);
            let what = *Action::ALL.get(action).unwrap();
            let decision = policy.decide(&account.principal, &account.groups, what, &above);
            let expected = oracle(&world, caller, action, depth);
            prop_assert_eq!(decision.is_allowed(), expected, "{} {} {}: {}", caller, what, scope, decision);
        }
        Ok(())
    };
    runner.run(&worlds, compare).unwrap();
}

fn real(world: &Toy) -> (AccessPolicy, MemoryDirectory) {
    let directory = MemoryDirectory::new();
    let name = |number: &usize| format!("p{number}");
    for number in 0..8 {
        directory.add_user(&name(&number), &tenant("contoso")).unwrap();
    }
    for number in 8..12 {
        directory.add_group(&name(&number), &tenant("contoso")).unwrap();
    }
    for (member, groups) in &world.groups {
        groups.iter().for_each(|group| directory.add_member(&name(group), &name(member)).unwrap());
    }
    let mut policy = AccessPolicy::new();
    let action = |number: &usize| Action::ALL.get(*number).unwrap().as_str();
    for (number, allowed) in world.roles.iter().enumerate() {
        let role = RoleDefinition::new(&format!("r{number}"), "r").unwrap();
        policy.put_role(role.with_actions(allowed.iter().map(action)).unwrap());
    }
    let depths = toy_scopes();
    for (number, (role, principal, depth)) in world.grants.iter().enumerate() {
        let (principal, scope) = (name(principal).parse().unwrap(), depths.get(*depth).unwrap().clone());
        let role = format!("r{role}").parse().unwrap();
        policy.assign(RoleAssignment::new(&format!("a{number}"), principal, role, scope).unwrap());
    }
    for (number, (principals, excluded, denied, depth)) in world.denials.iter().enumerate() {
        let ids =
            |set: &BTreeSet<usize>| -> Vec<PrincipalId> { set.iter().map(|one| name(one).parse().unwrap()).collect() };
        let scope = depths.get(*depth).unwrap().clone();
        let (id, action) = (format!("d{number}"), [action(denied)]);
        // The toy denies to all without exception; the real one excepts a principal that does not exist.
        let denial = match principals.is_empty() {
            true => DenyAssignment::to_everybody_but(&id, ["nobody".parse().unwrap()], action, scope),
            false => DenyAssignment::to(&id, ids(principals), action, scope),
        };
        policy.deny(denial.unwrap().with_exceptions(ids(excluded)));
    }
    (policy, directory)
}

// Sharing.

#[test]
fn the_sharing_matrix_is_the_services() {
    block_on(async {
        for (scope, gallery, image, versions, advised) in [
            (AccessScope::from(gallery_id()), true, true, 1, false),
            (image_id().into(), false, true, 1, true),
            (version_id().into(), false, false, 1, true),
        ] {
            let world = World::filled(None).await;
            world.assign(assignment("1", "ann", BuiltInRole::Reader, scope)).await;
            let matrix = world.session("ann").sharing_matrix(&gallery_id());
            let row = matrix.images.first().unwrap();
            assert_eq!((matrix.gallery, row.image, row.versions.len()), (gallery, image, versions));
            assert_eq!(!matrix.advice.is_empty(), advised, "{matrix}");
            // Reads do as the matrix says.
            let view = world.session("ann").view();
            assert_eq!(view.gallery(gallery_id()).is_ok(), gallery);
            assert_eq!(view.image_definition(image_id()).is_ok(), image);
            assert!(view.image_version(version_id()).is_ok());
            assert_eq!(view.image_versions(image_id(), None, 9).unwrap().items.len(), 1);
            assert_eq!(view.galleries(&ListScope::All, None, 9).items.len(), usize::from(gallery));
        }
        let world = World::filled(None).await;
        let none = world.session("ann").sharing_matrix(&gallery_id());
        assert!(!none.gallery && none.images.is_empty());
    });
}

#[test]
fn a_custom_role_holds_through_nested_groups_and_a_denial_beats_it() {
    block_on(async {
        let world = World::filled(None).await;
        let root = world.session("root");
        let deployer = RoleDefinition::new("deployer", "Deployer").unwrap();
        let deployer = deployer.with_actions(["Microsoft.Compute/galleries/images/*/read"]).unwrap();
        let only_dev = AccessScope::Subscription("dev".parse().unwrap());
        root.define_role(deployer.with_assignable_scopes(vec![only_dev.clone()])).await.unwrap();
        let at = |id: &str, scope: AccessScope| {
            RoleAssignment::new(id, "all".parse().unwrap(), "deployer".parse().unwrap(), scope).unwrap()
        };
        let elsewhere = root.assign_role(at("1", AccessScope::Subscription("lab".parse().unwrap()))).await.unwrap_err();
        assert!(elsewhere.to_string().contains("cannot be assigned at"), "{elsewhere}");
        root.assign_role(at("1", gallery_id().into())).await.unwrap();

        let ann = world.session("ann");
        let deployed = ann.deploy(version_id(), region()).to_writer(Cursor::new(Vec::new())).await.unwrap();
        assert_eq!(deployed.1.into_inner(), vec![7; 4096]);
        let Decision::Allowed(Grant::Role { assignment, through }) =
            ann.explain_access(Action::ReadVersion, &version_id().into())
        else {
            panic!("it was just deployed");
        };
        assert_eq!((assignment.id.as_str(), through.unwrap().as_str()), ("1", "all"));

        let denial = DenyAssignment::to("no", ["web".parse().unwrap()], ["*/read"], version_id()).unwrap();
        root.deny(denial).await.unwrap();
        let denied = ann.deploy(version_id(), region()).to_writer(Vec::new()).await.unwrap_err();
        assert_eq!((denied.kind(), denied.code()), (ErrorKind::Forbidden, "LinkedAuthorizationFailed"));
        assert!(denied.to_string().contains("deny assignment `no`"), "{denied}");
        root.undeny(version_id(), "no").await.unwrap();
        // Taken out of the group: effective for the next call.
        world.directory.remove_member("web", "ann").unwrap();
        assert!(ann.deploy(version_id(), region()).to_writer(Vec::new()).await.is_err());
    });
}

#[test]
fn an_application_shares_across_tenants_when_both_have_done_their_part() {
    block_on(async {
        let world = World::filled(None).await;
        world.directory.add_application("deployer", &tenant("fabrikam")).unwrap();
        let session = world.session("deployer");
        let deploy = || session.deploy(version_id(), region()).to_writer(Vec::new());
        let error = deploy().await.unwrap_err();
        assert_eq!(error.code(), "LinkedAuthorizationFailed");
        assert!(error.to_string().contains("must consent"), "{error}");
        // Reading is linked to nothing.
        assert_eq!(session.view().image_version(version_id()).unwrap_err().code(), "AuthorizationFailed");
        world.directory.consent("deployer@contoso", &tenant("contoso"), "deployer").unwrap();
        let error = deploy().await.unwrap_err();
        assert_eq!(error.code(), "LinkedAuthorizationFailed", "{error}");
        world.assign(assignment("1", "deployer@contoso", BuiltInRole::ComputeGalleryImageReader, gallery_id())).await;
        deploy().await.unwrap();
        // The principal of the other tenant gets no role here.
        let theirs = assignment("2", "deployer", BuiltInRole::Owner, gallery_id());
        assert_eq!(world.session("root").assign_role(theirs).await.unwrap_err().code(), "PrincipalNotFound");
    });
}

#[test]
fn a_source_takes_rights_on_the_source() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("1", "ann", BuiltInRole::ComputeGalleryArtifactsPublisher, gallery_id())).await;
        let next = || image_id().version("1.0.1".parse().unwrap());
        let image: ManagedImageId = flat("images");
        let error = world.session("ann").publish(version(next(), image.clone())).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Forbidden, "LinkedAuthorizationFailed"), "{error}");
        world.assign(assignment("2", "ann", BuiltInRole::Reader, &image)).await;
        world.session("ann").publish(version(next(), image)).await.unwrap();
        let snapshot: SnapshotId = flat("snapshots");
        let error = world.session("ann").publish(version(image_id().version("1.0.2".parse().unwrap()), snapshot)).await;
        assert_eq!(error.unwrap_err().code(), "LinkedAuthorizationFailed");
        let account = "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Storage/storageAccounts/vhds";
        let publish_blob = || {
            let (uri, storage_account) = ("https://vhds.example/web.vhd".into(), account.parse().unwrap());
            let blob = VhdBlob { uri, storage_account, disk: disk() };
            world.session("ann").publish(version(image_id().version("1.0.3".parse().unwrap()), blob))
        };
        assert_eq!(publish_blob().await.unwrap_err().code(), "LinkedAuthorizationFailed");
        let account: ResourceId = account.parse().unwrap();
        world.assign(assignment("3", "ann", BuiltInRole::Contributor, account)).await;
        publish_blob().await.unwrap();
    });
}

#[test]
fn direct_sharing_reaches_tenants_and_subscriptions_and_reveals_no_more_than_it_must() {
    block_on(async {
        let world = World::filled(Some(SharingProfile::new(SharingPermissions::Groups))).await;
        let (root, bob) = (world.session("root"), world.session("bob"));
        let id: PublicImageId = "/SharedGalleries/dev-G/Images/web/Versions/latest".parse().unwrap();
        let deploy = |session: &Session| session.deploy(&id, &region()).to_writer(Cursor::new(Vec::new()));
        let unknown = deploy(&bob).await.unwrap_err();
        assert_eq!(unknown.code(), "GalleryImageNotFound");
        let add = |subscriptions: &[&str], tenants: &[&str]| SharingUpdate::Add {
            subscriptions: subscriptions.iter().map(|id| id.parse().unwrap()).collect(),
            tenants: tenants.iter().map(|id| id.parse().unwrap()).collect(),
        };
        root.share_gallery(gallery_id(), add(&[], &["fabrikam"])).await.unwrap();
        assert_eq!(deploy(&bob).await.unwrap().1.into_inner(), vec![7; 4096]);
        let view = bob.view();
        assert_eq!(view.shared_galleries().len(), 1);
        let shared = PublicGallery::Shared("dev-G".into());
        let images = serde_json::to_value(view.public_images(&shared).unwrap()).unwrap();
        assert_eq!(images[0]["uniqueId"], "/SharedGalleries/dev-G/Images/web");
        assert!(!images.to_string().contains("/subscriptions/"), "{images}");
        assert_eq!(view.public_versions(&id, &region()).unwrap().len(), 1);
        assert!(view.gallery(gallery_id()).is_err(), "the gallery itself stays its owner's");

        root.share_gallery(gallery_id(), SharingUpdate::Reset).await.unwrap();
        assert!(deploy(&bob).await.is_err());
        root.share_gallery(gallery_id(), add(&["lab"], &[])).await.unwrap();
        assert!(deploy(&bob).await.is_err(), "they have no role in the subscription");
        world
            .assign(assignment("1", "bob", BuiltInRole::Reader, AccessScope::Subscription("lab".parse().unwrap())))
            .await;
        deploy(&bob).await.unwrap();

        let many: Vec<String> = (0..30).map(|number| format!("s{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = root.share_gallery(gallery_id(), add(&many, &[])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitReached, "{error}");
        let error = root.share_gallery(gallery_id(), add(&[], &["1", "2", "3", "4", "5", "6"])).await.unwrap_err();
        assert!(error.to_string().contains("at most 5"), "{error}");
        let error = root.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    });
}

#[test]
fn a_community_gallery_is_open_to_all_under_its_public_name() {
    block_on(async {
        let info = CommunityGalleryInfo {
            publisher_uri: "https://contoso.example".into(),
            publisher_contact: "images@contoso.example".into(),
            eula: "free".into(),
            public_name_prefix: "contoso".into(),
        };
        let world = World::filled(Some(SharingProfile::community(info))).await;
        let root = world.session("root");
        let sharing = root.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap();
        let name = sharing.public_name.unwrap();
        assert!(name.starts_with("contoso-") && name.len() == 40, "{name}");
        let again = root.share_gallery(gallery_id(), SharingUpdate::EnableCommunity).await.unwrap();
        assert_eq!(again.public_name.as_ref(), Some(&name));
        let nobody = world.session("somebody");
        let gallery = nobody.view().public_gallery(&PublicGallery::Community(name.clone())).unwrap();
        assert_eq!(gallery.publisher_contact.as_deref(), Some("images@contoso.example"));
        assert_eq!(gallery.eula.as_deref(), Some("free"));
        let id: PublicImageId = format!("/CommunityGalleries/{name}/Images/web/Versions/1.0.0").parse().unwrap();
        let bytes = nobody.deploy(&id, &region()).to_writer(Cursor::new(Vec::new())).await.unwrap().1;
        assert_eq!(bytes.into_inner(), vec![7; 4096]);
        let error = root.delete(gallery_id()).cascade().await.unwrap_err();
        assert!(error.to_string().contains("reset its sharing"), "{error}");
        root.share_gallery(gallery_id(), SharingUpdate::Reset).await.unwrap();
        root.delete(gallery_id()).cascade().await.unwrap();
    });
}

#[test]
fn a_role_is_given_to_a_principal_that_exists_in_the_tenant() {
    block_on(async {
        let world = World::filled(None).await;
        let root = world.session("root");
        for (who, told) in [("anm", "the directory knows no principal `anm`"), ("bob", "invite the user as a guest")] {
            let error = root.assign_role(assignment("1", who, BuiltInRole::Reader, gallery_id())).await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "PrincipalNotFound"));
            assert!(error.to_string().contains(told), "{error}");
            let denial = DenyAssignment::to("2", [who.parse().unwrap()], ["*"], gallery_id()).unwrap();
            assert_eq!(root.deny(denial).await.unwrap_err().code(), "PrincipalNotFound");
        }
        root.assign_role(assignment("1", "ann", BuiltInRole::Reader, gallery_id())).await.unwrap();
    });
}

// Detours to what a caller must not get.

#[test]
fn a_foreign_role_is_neither_widened_nor_revealed() {
    block_on(async {
        let world = World::filled(None).await;
        let root = world.session("root");
        let viewer = RoleDefinition::new("viewer", "Viewer").unwrap().with_actions(["*/galleries/read"]).unwrap();
        root.define_role(viewer).await.unwrap();
        let anywhere = RoleAssignment::new("1", "ann".parse().unwrap(), "viewer".parse().unwrap(), gallery_id());
        root.assign_role(anywhere.unwrap()).await.unwrap();
        let own = AccessScope::ResourceGroup("dev".parse().unwrap(), "anns".parse().unwrap());
        world.assign(assignment("2", "ann", BuiltInRole::Owner, own.clone())).await;
        let ann = world.session("ann");
        let wider = RoleDefinition::new("viewer", "Viewer").unwrap().with_actions(["*"]).unwrap();
        let error = ann.define_role(wider.with_assignable_scopes(vec![own.clone()])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        let of_other = ann.delete_role("viewer").await.unwrap_err();
        let of_none = ann.delete_role("absent").await.unwrap_err();
        assert_eq!(of_other.to_string(), of_none.to_string());
        let hers = RoleDefinition::new("hers", "Hers").unwrap().with_actions(["*/read"]).unwrap();
        ann.define_role(hers.with_assignable_scopes(vec![own])).await.unwrap();
    });
}

#[test]
fn a_denial_at_a_version_holds_through_its_definition_sharing_and_a_lifecycle() {
    block_on(async {
        let world = World::filled(Some(SharingProfile::new(SharingPermissions::Groups))).await;
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, gallery_id())).await;
        let root = world.session("root");
        let tenants = vec![tenant("contoso")];
        root.share_gallery(gallery_id(), SharingUpdate::Add { subscriptions: Vec::new(), tenants }).await.unwrap();
        let but_ci = ["ci".parse().unwrap()];
        root.deny(DenyAssignment::to_everybody_but("no", but_ci, ["*/versions/*"], version_id()).unwrap())
            .await
            .unwrap();
        let ann = world.session("ann");
        assert!(ann.view().latest(&image_id(), &region()).is_err());
        assert!(ann.deploy(image_id(), region()).to_writer(Vec::new()).await.is_err());
        let public: PublicImageId = "/SharedGalleries/dev-G/Images/web".parse().unwrap();
        assert!(ann.deploy(&public, &region()).to_writer(Vec::new()).await.is_err());
        let policy = LifecyclePolicy::new(1, "westeurope=2".parse().unwrap());
        let error = ann.apply_lifecycle(&image_id(), policy).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        root.undeny(version_id(), "no").await.unwrap();
        // A caller who may see only the definition may deploy what it means, and a VM of it.
        let reader = RoleDefinition::new("images", "Images").unwrap();
        let reader = reader.with_actions(["Microsoft.Compute/galleries/images/read"]).unwrap();
        root.define_role(reader).await.unwrap();
        let role = RoleAssignment::new("2", "ci".parse().unwrap(), "images".parse().unwrap(), image_id()).unwrap();
        root.assign_role(role).await.unwrap();
        let image = world.session("ci").boot_image(image_id(), &region()).await.unwrap().generalized().unwrap();
        let vm = image.vm("web-1".parse().unwrap(), OsProfile::new("admin").unwrap());
        vm.deploy().to_writer(Vec::new()).await.unwrap();
        assert!(world.session("ci").deploy(version_id(), region()).to_writer(Vec::new()).await.is_err());
    });
}

#[test]
fn a_consumer_never_sees_the_owners_ids() {
    block_on(async {
        let world = World::filled(Some(SharingProfile::new(SharingPermissions::Groups))).await;
        let tenants = vec![tenant("fabrikam")];
        let add = SharingUpdate::Add { subscriptions: Vec::new(), tenants };
        world.session("root").share_gallery(gallery_id(), add).await.unwrap();
        let id: PublicImageId = "/SharedGalleries/dev-G/Images/web/Versions/1.0.0".parse().unwrap();
        let bob = world.session("bob");
        let errors = [
            bob.deploy(&id, "eastus").to_writer(Vec::new()).await.unwrap_err(),
            bob.deploy(&id, &region()).data_disk(3).to_writer(Vec::new()).await.unwrap_err(),
        ];
        for error in errors {
            assert!(!error.to_string().contains("/subscriptions/"), "{error}");
            assert!(!error.to_string().contains("westeurope"), "{error}");
        }
    });
}

#[test]
fn a_new_resource_of_an_old_name_inherits_no_assignment() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("1", "ann", BuiltInRole::Owner, gallery_id())).await;
        let root = world.session("root");
        root.delete(gallery_id()).cascade().await.unwrap();
        assert!(root.view().role_assignments().is_empty());
        root.create_gallery(Gallery::new(gallery_id(), region())).await.unwrap();
        assert!(world.session("ann").view().gallery(gallery_id()).is_err());
    });
}

#[test]
fn an_owner_at_the_root_has_the_management_groups_below() {
    block_on(async {
        let world = World::new().await;
        world.assign(assignment("1", "ann", BuiltInRole::Owner, AccessScope::TenantRoot(tenant("contoso")))).await;
        let prod = AccessScope::ManagementGroup("prod".parse().unwrap());
        let ann = world.session("ann");
        ann.assign_role(assignment("2", "ci", BuiltInRole::Reader, prod)).await.unwrap();
        assert!(world.session("ci").view().usage("dev", &region()).is_ok());
    });
}

#[test]
fn a_contributor_does_not_decide_for_how_long_deleted_versions_are_kept() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, gallery_id())).await;
        let keeps = Gallery::new(gallery_id(), region()).with_soft_delete_policy(SoftDeletePolicy::enabled());
        let error = world.session("ann").update_gallery(keeps.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
        world.assign(assignment("2", "ann", BuiltInRole::ComputeGallerySharingAdmin, gallery_id())).await;
        world.session("ann").update_gallery(keeps).await.unwrap();
    });
}

// Revocation and audit.

#[test]
fn revocation_is_effective_for_the_next_call_in_another_process_too() {
    block_on(async {
        let world = World::filled(None).await;
        let other = world.other_service().await.session_of("ann");
        assert!(other.deploy(version_id(), region()).to_writer(Vec::new()).await.is_err());
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, gallery_id())).await;
        other.deploy(version_id(), region()).to_writer(Vec::new()).await.unwrap();
        world.session("root").unassign_role(gallery_id(), "1").await.unwrap();
        let error = other.delete(version_id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(other.deploy(version_id(), region()).to_writer(Vec::new()).await.is_err());
    });
}

#[test]
fn roles_survive_a_restart_and_a_checkpoint_and_history_shows_the_allowing_assignment() {
    block_on(async {
        let world = World::filled(None).await;
        world.assign(assignment("1", "web", BuiltInRole::Contributor, gallery_id())).await;
        let ann = world.session("ann");
        for number in 0..70 {
            let described = definition().with_description(number.to_string());
            ann.update_image_definition(described).await.unwrap();
        }
        let fresh = world.other_service().await.session_of("ann");
        fresh.update_image_definition(definition().with_description("fresh")).await.unwrap();
        let told = |session: Session| async move {
            let history: Vec<HistoryEntry> = session.history(0).map(Result::unwrap).collect().await;
            history
        };
        let all = told(world.session("root")).await;
        let last = all.last().unwrap();
        let authorization = last.authorization.clone().unwrap();
        assert_eq!(last.caller.as_str(), "ann");
        assert_eq!(authorization.assignment.unwrap().as_str(), "1");
        assert!(authorization.because.contains("group `web`"), "{}", authorization.because);
        assert_eq!(all.first().unwrap().authorization.as_ref().unwrap().because, "the caller is an administrator");
        let seen = told(world.session("ann")).await;
        assert!(seen.len() < all.len(), "the managed image is not for them");
        assert!(told(world.session("bob")).await.is_empty());
    });
}

// Every operation without rights.

fn gone(id: &str) -> AssignmentId {
    id.parse().unwrap()
}

const GROUP: &str = "/subscriptions/dev/resourceGroups/images";

/// The body of a request that says little.
fn body(location: &Region) -> Request {
    serde_json::json!({"location": location}).into()
}

/// The kind of error that each public operation of a session or view ends with for a caller without rights; `None` where
/// it answers with nothing, because it lists, or is not about any resource.
async fn without_rights(world: &World, (stored, operation): (&ImageVersion, OperationId), name: &str) -> Option<Error> {
    let (session, view) = (world.session("bob"), world.session("bob").view());
    let home = region();
    let public: PublicImageId = "/SharedGalleries/dev-G/Images/web".parse().unwrap();
    let shared = PublicGallery::Shared("dev-G".into());
    match name {
        "put_gallery" => session.put_gallery(gallery_id(), body(&home)).await.err(),
        "put_image_definition" => session.put_image_definition(image_id(), body(&home)).await.err(),
        "put_image_version" => session.put_image_version(version_id(), body(&home)).await.err(),
        "complete_version" => session.complete_version(version_id()).await.err(),
        "put_resource_group" => session.put_resource_group(GROUP, body(&home)).await.err(),
        "delete_resource_group" => session.delete_resource_group(GROUP).await.err(),
        "resource_group" => view.resource_group(GROUP).err(),
        "resource_group_json" => view.resource_group_json(GROUP).err(),
        "resource_groups" => nothing(view.resource_groups(&"dev".parse().unwrap(), None, 9).items.len()),
        "subscriptions" => nothing(view.subscriptions().len()),
        "role_definitions" => view.role_definitions(gallery_id()).err(),
        "role_assignments_at" => nothing(view.role_assignments_at(gallery_id()).len()),
        "put_managed_image" => session.put_managed_image(flat::<ManagedImageId>("images"), body(&home)).await.err(),
        "put_snapshot" => session.put_snapshot(flat::<SnapshotId>("snapshots"), body(&home)).await.err(),
        "put_disk" => session.put_disk(flat::<DiskId>("disks"), body(&home)).await.err(),
        "named_source" => view.named_source(flat::<DiskId>("disks")).err(),
        "named_sources" => nothing(view.named_sources(&ListScope::All, None, 9).items.len()),
        "json" => view.json(version_id()).err(),
        "provisioning" => view.provisioning(version_id()).err(),
        "revision" => view.revision(version_id()).err(),
        "operation" => view.operation(operation).err(),
        "operations" => nothing(view.operations().len()),
        "cancel_operation" => session.cancel_operation(operation).await.err(),
        "wait_for_operation" => session.wait_for_operation(operation).await.err(),
        "incomplete_versions" => nothing(view.incomplete_versions().len()),
        "create_gallery" => session.create_gallery(Gallery::new(gallery_id(), home)).await.err(),
        "create_image_definition" => session.create_image_definition(definition()).await.err(),
        "publish" => session.publish(version(version_id(), disk())).await.err(),
        "create_managed_image" => {
            session.create_managed_image(NewManagedImage::new(flat("images"), home, OsType::Linux, disk())).await.err()
        }
        "create_snapshot" => {
            session.create_snapshot(NewSnapshot::of_data_disk(flat("snapshots"), home, disk())).await.err()
        }
        "update_gallery" => session.update_gallery(Gallery::new(gallery_id(), home).with_description("x")).await.err(),
        "update_image_definition" => session.update_image_definition(definition().with_description("x")).await.err(),
        "update_image_version" => session.update_image_version(stored.clone()).await.err(),
        "restore" => session.restore(version_id()).await.err(),
        "exclude_from_latest" => session.exclude_from_latest(version_id(), true).await.err(),
        "publish_next" => session.publish_next(image_id(), |id| version(id, disk())).await.err(),
        "replicate_all" => nothing(session.replicate_all().await.unwrap().len()),
        "apply_lifecycle" => {
            let policy = LifecyclePolicy::new(1, "westeurope".parse().unwrap());
            session.apply_lifecycle(&image_id(), policy).await.err()
        }
        "delete" => session.delete(version_id()).await.err(),
        "replicate" => session.replicate(version_id()).await.err(),
        "replication_status" => session.replication_status(&version_id()).await.err(),
        "watch_replication" => Box::pin(session.watch_replication(&version_id())).next().await?.err(),
        "deploy" => session.deploy(version_id(), &home).to_writer(Vec::new()).await.err(),
        "pool" => session.pool(version_id(), &home).await.err(),
        "boot_image" => session.boot_image(version_id(), &home).await.err(),
        "define_role" => session.define_role(RoleDefinition::new("r", "r").unwrap()).await.err(),
        "delete_role" => session.delete_role("r").await.err(),
        "assign_role" => session.assign_role(assignment("9", "bob", BuiltInRole::Owner, gallery_id())).await.err(),
        "unassign_role" => session.unassign_role(gallery_id(), gone("1")).await.err(),
        "deny" => {
            let denial = DenyAssignment::to("9", ["ann".parse().unwrap()], ["*"], gallery_id()).unwrap();
            session.deny(denial).await.err()
        }
        "undeny" => session.undeny(gallery_id(), gone("9")).await.err(),
        "share_gallery" => session.share_gallery(gallery_id(), SharingUpdate::Reset).await.err(),
        "gallery" => view.gallery(gallery_id()).err(),
        "image_definition" => view.image_definition(image_id()).err(),
        "image_definitions" => view.image_definitions(gallery_id(), None, 9).err(),
        "image_version" => view.image_version(version_id()).err(),
        "image_versions" => view.image_versions(image_id(), None, 9).err(),
        "soft_deleted_versions" => view.soft_deleted_versions(image_id()).err(),
        "image_content" => view.image_content(version_id()).err(),
        "managed_image" => view.managed_image(flat::<ManagedImageId>("images")).err(),
        "snapshot" => view.snapshot(flat::<SnapshotId>("snapshots")).err(),
        "forget_vm" => session.forget_vm(flat::<VirtualMachineId>("virtualMachines")).await.err(),
        "name_collisions" => nothing(view.name_collisions().len()),
        "find_images" => nothing(view.find_images(&ListScope::All, definition().identifier()).len()),
        "find_latest" => view.find_latest(&ListScope::All, definition().identifier(), &home).err(),
        "all_image_definitions" => nothing(view.all_image_definitions(&ListScope::All, None, 9).items.len()),
        "all_image_versions" => nothing(view.all_image_versions(&ListScope::All, None, 9).items.len()),
        "ends_of_life" => nothing(view.ends_of_life(&ListScope::All, chrono::DateTime::<chrono::Utc>::MAX_UTC).len()),
        "delete_after_end_of_life" => {
            nothing(session.delete_after_end_of_life(chrono::TimeDelta::MIN).await.unwrap().len())
        }
        "usage" => view.usage("dev", &home).err(),
        "cost" => view.cost(&Prices::new(1, 1), [&version_id()]).err(),
        "latest" => view.latest(&image_id(), &home).err(),
        "explain_latest" => view.explain_latest(&image_id(), &home).err(),
        "gallery_sharing" => view.gallery_sharing(gallery_id()).err(),
        "public_gallery" => view.public_gallery(&shared).err(),
        "public_images" => view.public_images(&shared).err(),
        "public_versions" => view.public_versions(&public, &home).err(),
        "galleries" => nothing(view.galleries(&ListScope::All, None, 9).items.len()),
        "managed_images" => nothing(view.managed_images(&ListScope::All, None, 9).items.len()),
        "snapshots" => nothing(view.snapshots(&ListScope::All, None, 9).items.len()),
        "role_assignments" => nothing(view.role_assignments().len()),
        "deny_assignments" => nothing(view.deny_assignments().len()),
        "shared_galleries" => nothing(view.shared_galleries().len()),
        "history" => nothing(Box::pin(session.history(0)).count().await),
        "sharing_matrix" => nothing(session.sharing_matrix(&gallery_id()).images.len()),
        "explain_access" => {
            nothing(usize::from(session.explain_access(Action::ReadGallery, &gallery_id().into()).is_allowed()))
        }
        // About no resource.
        "driver" => session.driver().step().await.err(),
        "collect" => session.collect().await.err(),
        "compress" => session.compress().await.err(),
        "rotate_keys" => session.rotate_keys().await.err(),
        "scrub" => session.scrub(&home).await.err(),
        "truncate_history" => session.truncate_history(0).await.err(),
        "history_begins_after" => session.history_begins_after().await.err(),
        // `in_tenants` takes rights away.
        "caller" | "view" | "refresh" | "number" | "in_tenants" => None,
        other => panic!("`{other}` is a new operation: say here how it is refused to a caller without rights"),
    }
}

fn nothing(items: usize) -> Option<Error> {
    assert_eq!(items, 0);
    None
}

/// The public operations of `Session` and `CatalogView`, read from the source, so that none is forgotten.
fn operations() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let rooms = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service");
    let chambers =
        std::fs::read_dir(rooms).unwrap().map(|chamber| chamber.unwrap().path()).filter(|path| path.is_dir());
    for file in chambers.flat_map(|chamber| std::fs::read_dir(chamber).unwrap()) {
        let mut of_session = false;
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            if line.starts_with("impl") {
                of_session = line == "impl Session {" || line == "impl CatalogView {";
            }
            let function =
                line.trim_start().strip_prefix("pub fn ").or(line.trim_start().strip_prefix("pub async fn "));
            if let Some(function) = function.filter(|_| of_session) {
                names.insert(function.split(['(', '<']).next().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn every_operation_is_refused_to_a_caller_without_rights_and_changes_nothing() {
    block_on(async {
        let world = World::filled(Some(SharingProfile::new(SharingPermissions::Groups))).await;
        world.assign(assignment("1", "ann", BuiltInRole::Owner, gallery_id())).await;
        // The same world without what is asked for: the answers must be the same.
        let empty = World::new().await;
        let operations = operations();
        assert!(operations.len() > 45, "{operations:?}");
        let body = serde_json::json!({"location": region(), "tags": {"put": "again"}});
        let put = world.session("root").put_image_version(version_id(), body).await.unwrap();
        let operation = put.operation.unwrap();
        let before = world.session("root").refresh().await.unwrap().number();
        let stored = world.session("root").view().image_version(version_id()).unwrap();
        for name in &operations {
            let Some(error) = without_rights(&world, (&stored, operation), name).await else { continue };
            // Their ids do not tell where they are.
            let is_hidden = ["public", "operation", "find"].iter().any(|hidden| name.contains(hidden));
            let expected = if is_hidden { ErrorKind::NotFound } else { ErrorKind::Forbidden };
            assert_eq!(error.kind(), expected, "{name}: {error}");
            let absent = without_rights(&empty, (&stored, operation), name).await.unwrap();
            assert_eq!(absent.to_string(), error.to_string(), "{name} tells what exists");
        }
        assert_eq!(world.session("root").refresh().await.unwrap().number(), before, "something has changed");
    });
}

#[test]
fn all_that_lacks_replicas_is_what_the_caller_may_change() {
    block_on(async {
        let sandbox = Sandbox::builder().directory(directory()).build().await.unwrap();
        for number in ["1.0.0", "1.0.1"] {
            let disk = compute_gallery::testkit::raw(vec![7; 4096]);
            sandbox.session().publish(sandbox.new_version(number, "westeurope,eastus", disk)).await.unwrap();
        }
        let role = assignment("1", "ann", BuiltInRole::Contributor, sandbox.version("1.0.0"));
        sandbox.session().assign_role(role).await.unwrap();
        let by = |caller| {
            let session = sandbox.session_of(caller);
            async move {
                let all = session.replicate_all().await.unwrap();
                assert!(all.iter().all(|one| one.outcome.is_ok()), "{all:?}");
                all.into_iter().map(|one| one.version).collect::<Vec<_>>()
            }
        };
        assert_eq!(by("ci").await, []);
        assert_eq!(by("ann").await, [sandbox.version("1.0.0")]);
        assert_eq!(by("test").await, [sandbox.version("1.0.1")]);
    });
}

/// Who named a source was allowed to use it. A driver, which may do everything, carries out what is asked for again later.
#[test]
fn a_version_that_failed_is_tried_again_only_by_who_may_use_its_source() {
    block_on(async {
        let world = World::filled(None).await;
        let source: ManagedImageId = flat("images");
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, gallery_id())).await;
        world.assign(assignment("2", "ann", BuiltInRole::Reader, source.clone())).await;
        let (ann, id) = (world.session("ann"), image_id().version("2.0.0".parse().unwrap()));
        let storage = serde_json::json!({"source": {"id": source.to_string()}});
        let body = |tag: &str| serde_json::json!({"location": region(), "tags": {"try": tag}, "properties": {"storageProfile": storage}});
        let put = ann.put_image_version(&id, body("1")).await.unwrap();
        ann.cancel_operation(put.operation.unwrap()).await.unwrap();
        world.session("root").unassign_role(source.clone(), "2").await.unwrap();
        let patch = || Request::patch(serde_json::json!({"tags": {"try": "again"}}));
        for again in [Request::put(body("1")), Request::put(body("2")), patch()] {
            let refused = ann.put_image_version(&id, again).await.unwrap_err();
            assert_eq!((refused.kind(), refused.code()), (ErrorKind::Forbidden, "LinkedAuthorizationFailed"));
        }
        let mut driver = world.session("root").driver();
        driver.step().await.unwrap();
        assert!(ann.deploy(&id, region()).to_writer(Vec::new()).await.is_err(), "its source is not hers any more");

        world.assign(assignment("2", "ann", BuiltInRole::Reader, source)).await;
        ann.put_image_version(&id, patch()).await.unwrap();
        driver.step().await.unwrap();
        let (_, disk) = ann.deploy(&id, region()).to_writer(Vec::new()).await.unwrap();
        assert_eq!(disk, [7; 4096]);
    });
}

/// A source that is made under the id of one that is gone is another: who named that one may have no right to this one.
#[test]
fn a_source_that_was_made_after_it_was_named_is_another() {
    block_on(async {
        let world = World::filled(None).await;
        let (root, source) = (world.session("root"), flat::<ManagedImageId>("images"));
        world.assign(assignment("1", "ann", BuiltInRole::Contributor, gallery_id())).await;
        world.assign(assignment("2", "ann", BuiltInRole::Reader, source.clone())).await;
        let (ann, id) = (world.session("ann"), image_id().version("2.0.0".parse().unwrap()));
        let storage = serde_json::json!({"source": {"id": source.to_string()}});
        let body = || serde_json::json!({"location": region(), "properties": {"storageProfile": storage}});
        ann.put_image_version(&id, body()).await.unwrap();
        root.delete(source.clone()).await.unwrap();
        let secret = compute_gallery::testkit::raw(vec![9; 4096]);
        root.create_managed_image(NewManagedImage::new(source.clone(), region(), OsType::Linux, secret)).await.unwrap();
        // Who may write the version, and not read the source, changes nothing of that.
        let tags = Request::patch(serde_json::json!({"tags": {"a": "b"}}));
        assert_eq!(ann.put_image_version(&id, tags).await.unwrap_err().kind(), ErrorKind::Forbidden);
        let mut driver = root.driver();
        driver.step().await.unwrap();
        let read = ann.deploy(&id, region()).to_writer(Vec::new()).await;
        assert!(read.is_err(), "{:?}", read.map(|(_, disk)| disk.first().copied()));
        assert_eq!(ann.put_image_version(&id, body()).await.unwrap_err().kind(), ErrorKind::Forbidden);
        // One who may use both names it again.
        root.put_image_version(&id, body()).await.unwrap();
        driver.step().await.unwrap();
        assert_eq!(ann.deploy(&id, region()).to_writer(Vec::new()).await.unwrap().1, [9; 4096]);
    });
}
