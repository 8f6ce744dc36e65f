//! Who may do what, a second time: written from the service's documents (roles, sharing, soft delete) and `docs/rules.md`, and
//! not from the crate. Names are words, actions are strings, and nothing is looked up cleverly.

use std::collections::{BTreeMap, BTreeSet};

pub type Name = &'static str;

/// The administrator, who may do everything.
pub const ROOT: Name = "root";
/// How long a deleted version can be restored, in seconds.
pub const RETENTION: u64 = 7 * DAY;
pub const DAY: u64 = 86_400;

/// The galleries: their subscription and name. The first can be shared directly, the second with the community.
pub const GALLERIES: [(Name, Name); 2] = [("dev", "g"), ("lab", "h")];
pub const GROUP: Name = "images";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    Tenant(Name),
    Management(Name),
    Subscription(Name),
    Group(Name),
    Gallery(usize),
    Image(usize, Name),
    Version(usize, Name, u32),
    Managed,
    Snapshot,
    Account,
    Machine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Guest,
    Application,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub actions: Vec<Name>,
    pub not: Vec<Name>,
    /// Anywhere where it is empty.
    pub scopes: Vec<At>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Everybody where it is `None`.
    pub to: Option<Vec<Name>>,
    pub except: Vec<Name>,
    pub actions: Vec<Name>,
}

#[derive(Clone, Debug, Default)]
pub struct Gallery {
    pub soft: bool,
    pub subscriptions: BTreeSet<Name>,
    pub tenants: BTreeSet<Name>,
    pub public: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Disk,
    Managed,
    Snapshot,
    Version(usize, Name, u32),
    Blob,
    Machine,
}

#[derive(Clone, Debug)]
pub enum Share {
    Add(Vec<Name>, Vec<Name>),
    Remove(Vec<Name>, Vec<Name>),
    Reset,
    Community,
}

/// Something that a caller does.
#[derive(Clone, Debug)]
pub enum Step {
    CreateGallery(usize, bool),
    UpdateGallery(usize, bool),
    CreateImage(usize, Name),
    UpdateImage(usize, Name),
    Publish(usize, Name, u32, Source),
    PublishNext(usize, Name),
    UpdateVersion(usize, Name, u32),
    PutGallery(usize, bool),
    PutImage(usize, Name),
    /// A version with a number that no other step has.
    Announce(usize, Name),
    Complete(usize, Name),
    PutGroup(Name),
    /// A source by name: an image, a snapshot or a disk.
    PutNamed(Name),
    DeleteGroup(Name),
    Restore(usize, Name, u32),
    Replicate(usize, Name, u32),
    Exclude(usize, Name, u32),
    Lifecycle(usize, Name),
    CreateManaged,
    CreateSnapshot,
    Delete {
        at: At,
        cascade: bool,
        bypass: bool,
    },
    Share(usize, Share),
    DefineRole(Name, Role),
    DeleteRole(Name),
    Assign(At, Name, Name, Name),
    Unassign(At, Name),
    Deny(At, Name, Denial),
    Undeny(At, Name),
    Collect,
    Compress,
    RotateKeys,
    Scrub,
    Truncate,
    BeginsAfter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// By the deny assignment of this scope and id.
    Denied(At, Name),
    NotGranted,
    NoAccount,
}

/// How a read ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Seen(BTreeSet<String>),
    Forbidden,
    Absent,
}

pub fn seen() -> Answer {
    Answer::Seen(BTreeSet::new())
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: u64,
    /// Tenant, and the management group right above.
    pub subscriptions: BTreeMap<Name, (Name, Option<Name>)>,
    pub management: BTreeMap<Name, (Name, Option<Name>)>,
    /// Tenant, principal and kind of each account of a caller.
    pub accounts: BTreeMap<Name, Vec<(Name, Name, Kind)>>,
    /// The groups that a principal is in, directly.
    pub groups: BTreeMap<Name, BTreeSet<Name>>,
    pub roles: BTreeMap<Name, Role>,
    /// Principal and role.
    pub assignments: BTreeMap<(At, Name), (Name, Name)>,
    pub denials: BTreeMap<(At, Name), Denial>,
    pub galleries: BTreeMap<usize, Gallery>,
    pub images: BTreeSet<(usize, Name)>,
    /// Until when it can be restored, if it was deleted.
    pub versions: BTreeMap<(usize, Name, u32), Option<u64>>,
    /// Those that were announced and are not complete.
    pub incomplete: BTreeSet<(usize, Name)>,
    /// The resource groups that were created, by their subscription.
    pub resource_groups: BTreeSet<Name>,
    pub named: BTreeSet<Name>,
    pub managed: bool,
    pub snapshot: bool,
}

/// The number of the versions that are announced.
pub const ANNOUNCED: u32 = 9;

const DELETE_VERSION: Name = "Microsoft.Compute/galleries/images/versions/delete";

/// The service's built-in roles, from its list: name, actions, not actions.
pub const BUILT_IN: [(Name, &[Name], &[Name]); 7] = [
    ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", &["*"], &[]),
    (
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        &["*"],
        &[
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Compute/galleries/share/action",
        ],
    ),
    ("acdd72a7-3385-48ef-bd42-f606fba81ae7", &["*/read"], &[]),
    ("18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", &["*/read", "Microsoft.Authorization/*"], &[]),
    (
        "85a2d0d9-2eba-4c9c-b355-11c2cc0788ab",
        &[
            "Microsoft.Compute/galleries/*",
            "Microsoft.Compute/locations/capsOperations/read",
            "Microsoft.Compute/locations/sharedGalleries/*",
            "Microsoft.Compute/images/*",
            "Microsoft.Compute/virtualMachines/write",
            "Microsoft.Compute/disks/write",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ],
        &["Microsoft.Compute/galleries/share/action"],
    ),
    (
        "cf7c76d2-98a3-4358-a134-615aa78bf44d",
        &["Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read"],
        &[],
    ),
    ("1ef6a3be-d0ac-425d-8c01-acb62866290b", &["Microsoft.Compute/galleries/share/action"], &[]),
];

/// Sources by name, which stand in one group: their kind, and what is needed to see, write and delete one.
pub const NAMED: [(Name, Name, Name, Name); 3] = [
    ("images", "Microsoft.Compute/images/read", "Microsoft.Compute/images/write", "Microsoft.Compute/images/delete"),
    (
        "snapshots",
        "Microsoft.Compute/snapshots/read",
        "Microsoft.Compute/snapshots/write",
        "Microsoft.Compute/snapshots/delete",
    ),
    ("disks", "Microsoft.Compute/disks/read", "Microsoft.Compute/disks/write", "Microsoft.Compute/disks/delete"),
];

fn kind_at(kind: Name) -> usize {
    NAMED.iter().position(|(of, ..)| *of == kind).unwrap()
}

const SHARE: Name = "Microsoft.Compute/galleries/share/action";
const SEE_SHARED: Name = "Microsoft.Compute/locations/sharedGalleries/read";
pub const READ_ASSIGNMENTS: Name = "Microsoft.Authorization/roleAssignments/read";
pub const READ_GROUP: Name = "Microsoft.Resources/subscriptions/resourceGroups/read";
const READ_ROLES: Name = "Microsoft.Authorization/roleDefinitions/read";
const READ_GALLERY: Name = "Microsoft.Compute/galleries/read";
const READ_IMAGE: Name = "Microsoft.Compute/galleries/images/read";
const READ_OPERATION: Name = "Microsoft.Compute/locations/capsOperations/read";
const READ_VERSION: Name = "Microsoft.Compute/galleries/images/versions/read";
const WRITE_VERSION: Name = "Microsoft.Compute/galleries/images/versions/write";

/// Whether a pattern with `*` matches, without case.
fn matches(pattern: &str, text: &str) -> bool {
    fn from(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((b'*', more)), _) => (0..=text.len()).any(|skip| from(more, &text[skip..])),
            (Some((one, more)), Some((other, rest))) => one.eq_ignore_ascii_case(other) && from(more, rest),
            (Some(_), None) => false,
        }
    }
    from(pattern.as_bytes(), text.as_bytes())
}

fn any(patterns: &[Name], action: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, action))
}

impl Model {
    // Where things are.

    fn is_gone(&self, key: (usize, Name, u32)) -> bool {
        matches!(self.versions.get(&key), Some(Some(until)) if *until <= self.now)
    }

    /// Versions of a definition that are there, or can be restored.
    fn kept(&self, gallery: usize, image: Name) -> Vec<u32> {
        let of = |key: &&(usize, Name, u32)| (key.0, key.1) == (gallery, image) && !self.is_gone(**key);
        self.versions.keys().filter(of).map(|key| key.2).collect()
    }

    /// The number after the highest.
    fn next(&self, gallery: usize, image: Name) -> u32 {
        let announced = self.incomplete.contains(&(gallery, image)).then_some(ANNOUNCED);
        self.kept(gallery, image).into_iter().chain(announced).max().map_or(0, |last| last + 1)
    }

    fn live(&self, gallery: usize, image: Name) -> Vec<u32> {
        let mut kept = self.kept(gallery, image);
        kept.retain(|number| self.versions[&(gallery, image, *number)].is_none());
        kept
    }

    /// A scope and everything above it.
    fn chain(&self, at: At) -> Vec<At> {
        let mut chain = vec![at];
        loop {
            let above = match chain[chain.len() - 1] {
                At::Version(gallery, image, _) => At::Image(gallery, image),
                At::Image(gallery, _) => At::Gallery(gallery),
                At::Gallery(gallery) => At::Group(GALLERIES[gallery].0),
                At::Managed | At::Snapshot | At::Account | At::Machine => At::Group("dev"),
                At::Group(subscription) => At::Subscription(subscription),
                At::Subscription(id) => match self.subscriptions[id] {
                    (_, Some(group)) => At::Management(group),
                    (tenant, None) => At::Tenant(tenant),
                },
                At::Management(id) => match self.management[id] {
                    (_, Some(group)) => At::Management(group),
                    (tenant, None) => At::Tenant(tenant),
                },
                At::Tenant(_) => return chain,
            };
            chain.push(above);
        }
    }

    fn tenant(&self, at: At) -> Name {
        match self.chain(at).pop() {
            Some(At::Tenant(tenant)) => tenant,
            other => unreachable!("every chain ends at a tenant: {other:?}"),
        }
    }

    /// Assignments at a version ended with its retention.
    pub fn stands(&self, at: At) -> bool {
        match at {
            At::Version(gallery, image, number) => !self.is_gone((gallery, image, number)),
            _ => true,
        }
    }

    /// An account and all groups that it is in.
    fn principals(&self, account: Name) -> BTreeSet<Name> {
        let mut all = BTreeSet::from([account]);
        while let Some(more) =
            all.iter().flat_map(|one| self.groups.get(one)).flatten().find(|group| !all.contains(*group)).copied()
        {
            all.insert(more);
        }
        all
    }

    fn role(&self, id: Name) -> Option<(Vec<Name>, Vec<Name>)> {
        if let Some((_, actions, not)) = BUILT_IN.iter().find(|(built_in, ..)| *built_in == id) {
            return Some((actions.to_vec(), not.to_vec()));
        }
        self.roles.get(id).map(|role| (role.actions.clone(), role.not.clone()))
    }

    // The decision.

    pub fn decide(&self, caller: Name, action: Name, at: At) -> Verdict {
        if caller == ROOT {
            return Verdict::Allowed;
        }
        let tenant = self.tenant(at);
        let accounts = self.accounts.get(caller).into_iter().flatten();
        let Some(account) = accounts.clone().find(|(of, ..)| *of == tenant) else { return Verdict::NoAccount };
        let who = self.principals(account.1);
        let chain: Vec<At> = self.chain(at).into_iter().filter(|scope| self.stands(*scope)).collect();
        let is = |list: &Vec<Name>| list.iter().any(|one| who.contains(one));
        // From the scope upwards, and at one scope in the order of their ids, which is the order they are named in here.
        for scope in &chain {
            for ((_, id), denial) in self.denials.iter().filter(|((at, _), _)| at == scope) {
                if any(&denial.actions, action) && denial.to.as_ref().is_none_or(is) && !is(&denial.except) {
                    return Verdict::Denied(*scope, id);
                }
            }
        }
        let allows = |(principal, role): &(Name, Name)| {
            who.contains(principal)
                && self.role(role).is_some_and(|(actions, not)| any(&actions, action) && !any(&not, action))
        };
        let mut there = self.assignments.iter().filter(|((at, _), _)| chain.contains(at));
        if there.any(|(_, given)| allows(given)) { Verdict::Allowed } else { Verdict::NotGranted }
    }

    pub fn may(&self, caller: Name, action: Name, at: At) -> bool {
        self.decide(caller, action, at) == Verdict::Allowed
    }

    /// Whether it is denied to a caller who may need no role; what is denied to everybody is denied to other tenants, too.
    fn is_denied(&self, caller: Name, action: Name, at: At) -> bool {
        match self.decide(caller, action, at) {
            Verdict::Denied(..) => true,
            Verdict::NoAccount => self.chain(at).into_iter().filter(|scope| self.stands(*scope)).any(|scope| {
                let mut there = self.denials.iter().filter(|((at, _), _)| *at == scope);
                there.any(|(_, denial)| denial.to.is_none() && any(&denial.actions, action))
            }),
            _ => false,
        }
    }

    // Sharing.

    /// Whether a gallery is shared with a caller directly.
    fn reaches(&self, caller: Name, gallery: &Gallery) -> bool {
        let is_shared = !gallery.subscriptions.is_empty() || !gallery.tenants.is_empty();
        let in_tenant = |tenant: &Name| {
            let accounts = self.accounts.get(caller).into_iter().flatten();
            let Some(account) = accounts.clone().find(|(of, ..)| of == tenant) else { return false };
            let root = At::Tenant(tenant);
            let groups = self.management.iter().filter(|(_, (of, _))| of == tenant).map(|(id, _)| At::Management(id));
            let subscriptions = self.subscriptions.iter().filter(|(_, (of, _))| of == tenant);
            let mut below = groups.chain(subscriptions.map(|(id, _)| At::Subscription(id)));
            match self.decide(caller, SEE_SHARED, root) {
                Verdict::Denied(..) => false,
                _ if account.2 == Kind::User => true,
                Verdict::Allowed => true,
                _ => below.any(|scope| self.may(caller, SEE_SHARED, scope)),
            }
        };
        let in_subscription = |id: &Name| self.may(caller, SEE_SHARED, At::Subscription(id));
        is_shared
            && (caller == ROOT
                || gallery.tenants.iter().any(in_tenant)
                || gallery.subscriptions.iter().any(in_subscription))
    }

    /// Whether a caller finds a gallery by the name that it is shared under.
    fn finds(&self, caller: Name, gallery: usize, community: bool) -> bool {
        let Some(there) = self.galleries.get(&gallery) else { return false };
        let shared = if community { there.public.is_some() } else { self.reaches(caller, there) };
        shared && !self.is_denied(caller, READ_GALLERY, At::Gallery(gallery))
    }

    fn finds_image(&self, caller: Name, gallery: usize, image: Name, community: bool) -> bool {
        self.finds(caller, gallery, community)
            && self.images.contains(&(gallery, image))
            && !self.is_denied(caller, READ_IMAGE, At::Image(gallery, image))
    }

    pub fn shared_galleries(&self, caller: Name) -> BTreeSet<String> {
        let found = self.galleries.keys().filter(|gallery| self.finds(caller, **gallery, false));
        found.map(|gallery| GALLERIES[*gallery].1.to_owned()).collect()
    }

    pub fn public_gallery(&self, caller: Name, gallery: usize, community: bool) -> Answer {
        if self.finds(caller, gallery, community) { seen() } else { Answer::Absent }
    }

    pub fn public_images(&self, caller: Name, gallery: usize, community: bool) -> Answer {
        if !self.finds(caller, gallery, community) {
            return Answer::Absent;
        }
        let there = self
            .images
            .iter()
            .filter(|(of, image)| *of == gallery && !self.is_denied(caller, READ_IMAGE, At::Image(gallery, image)));
        Answer::Seen(there.map(|(_, image)| (*image).to_owned()).collect())
    }

    pub fn public_versions(&self, caller: Name, gallery: usize, image: Name, community: bool) -> Answer {
        if !self.finds_image(caller, gallery, image, community) {
            return Answer::Absent;
        }
        let denied = |number: &u32| self.is_denied(caller, READ_VERSION, At::Version(gallery, image, *number));
        Answer::Seen(names(self.live(gallery, image).into_iter().filter(|number| !denied(number))))
    }

    pub fn deploy_public(
        &self,
        caller: Name,
        (gallery, image): (usize, Name),
        number: Option<u32>,
        community: bool,
    ) -> Answer {
        let number = match number {
            Some(number) => Some(number).filter(|number| self.kept(gallery, image).contains(number)),
            None => self.live(gallery, image).into_iter().max(),
        };
        let Some(number) = number else { return Answer::Absent };
        let denied = self.is_denied(caller, READ_VERSION, At::Version(gallery, image, number));
        if self.finds_image(caller, gallery, image, community) && !denied { seen() } else { Answer::Absent }
    }

    // Reads.

    fn is_there(&self, at: At) -> bool {
        match at {
            At::Gallery(gallery) => self.galleries.contains_key(&gallery),
            At::Image(gallery, image) => self.images.contains(&(gallery, image)),
            At::Version(gallery, image, ANNOUNCED) if self.incomplete.contains(&(gallery, image)) => true,
            At::Version(gallery, image, number) => self.kept(gallery, image).contains(&number),
            At::Managed => self.managed,
            At::Snapshot => self.snapshot,
            _ => true,
        }
    }

    fn read_action(at: At) -> Name {
        match at {
            At::Image(..) => READ_IMAGE,
            At::Version(..) => READ_VERSION,
            At::Managed => "Microsoft.Compute/images/read",
            At::Snapshot => "Microsoft.Compute/snapshots/read",
            _ => READ_GALLERY,
        }
    }

    /// One thing, asked for by its id.
    pub fn read(&self, caller: Name, at: At) -> Answer {
        match self.may(caller, Self::read_action(at), at) {
            false => Answer::Forbidden,
            true if self.is_there(at) => seen(),
            true => Answer::Absent,
        }
    }

    fn readable(&self, caller: Name, at: At) -> bool {
        self.is_there(at) && self.may(caller, Self::read_action(at), at)
    }

    pub fn usage(&self, caller: Name, subscription: Name) -> Answer {
        if self.may(caller, READ_GALLERY, At::Subscription(subscription)) { seen() } else { Answer::Forbidden }
    }

    pub fn resource_group(&self, caller: Name, subscription: Name) -> Answer {
        match self.may(caller, READ_GROUP, At::Group(subscription)) {
            false => Answer::Forbidden,
            true if self.resource_groups.contains(subscription) => seen(),
            true => Answer::Absent,
        }
    }

    pub fn named_source(&self, caller: Name, kind: Name) -> Answer {
        match self.may(caller, NAMED[kind_at(kind)].1, At::Group("dev")) {
            false => Answer::Forbidden,
            true if self.named.contains(kind) => seen(),
            true => Answer::Absent,
        }
    }

    pub fn named_sources(&self, caller: Name) -> BTreeSet<String> {
        let sees = |kind: &&Name| self.named_source(caller, kind) == seen();
        self.named.iter().filter(sees).map(|kind| (*kind).to_owned()).collect()
    }

    pub fn role_definitions(&self, caller: Name, at: At) -> Answer {
        if self.may(caller, READ_ROLES, at) { seen() } else { Answer::Forbidden }
    }

    /// The assignments at a scope and above it.
    pub fn role_assignments_at(&self, caller: Name, at: At) -> BTreeSet<String> {
        let chain = self.chain(at);
        let holds = self.assignments.iter().filter(|((scope, _), _)| chain.contains(scope));
        self.visible(caller, &holds.map(|(key, value)| (*key, *value)).collect())
    }

    /// The subscriptions in which a caller may see resource groups, or has a role somewhere.
    pub fn subscriptions(&self, caller: Name) -> BTreeSet<String> {
        let accounts = self.accounts.get(caller).into_iter().flatten();
        let theirs: BTreeSet<Name> = accounts.flat_map(|account| self.principals(account.1)).collect();
        let has_role = |id: Name| {
            let inside = |at: At| self.chain(at).contains(&At::Subscription(id));
            self.assignments.iter().any(|((at, _), (principal, _))| theirs.contains(principal) && inside(*at))
        };
        let sees = |id: &&Name| self.may(caller, READ_GROUP, At::Subscription(id)) || has_role(id);
        self.subscriptions.keys().filter(sees).map(|id| (*id).to_owned()).collect()
    }

    pub fn incomplete_versions(&self, caller: Name) -> BTreeSet<String> {
        let may =
            |(gallery, image): &&(usize, Name)| self.may(caller, READ_VERSION, At::Version(*gallery, image, ANNOUNCED));
        self.incomplete.iter().filter(may).map(|(gallery, image)| format!("{gallery} {image}")).collect()
    }

    pub fn operation(&self, caller: Name, at: At) -> Answer {
        if self.may(caller, READ_OPERATION, at) { seen() } else { Answer::Absent }
    }

    pub fn cancel(&self, caller: Name, at: At) -> Answer {
        match self.operation(caller, at) {
            Answer::Seen(_) if !self.may(caller, WRITE_VERSION, at) => Answer::Forbidden,
            answer => answer,
        }
    }

    /// Those that are under way, by their version.
    pub fn operations(&self, caller: Name) -> BTreeSet<String> {
        let at = |gallery: &usize, image: &Name| At::Version(*gallery, image, ANNOUNCED);
        let may = |(gallery, image): &&(usize, Name)| self.may(caller, READ_OPERATION, at(gallery, image));
        self.incomplete.iter().filter(may).map(|(gallery, image)| format!("{gallery} {image}")).collect()
    }

    /// The definitions of all galleries.
    pub fn all_images(&self, caller: Name) -> BTreeSet<String> {
        let there = self.images.iter().filter(|(gallery, image)| self.readable(caller, At::Image(*gallery, image)));
        there.map(|(gallery, image)| format!("{gallery} {image}")).collect()
    }

    /// The versions of all galleries; some may be seen without their definition.
    pub fn all_versions(&self, caller: Name) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (gallery, image) in &self.images {
            let announced = self.incomplete.contains(&(*gallery, image)).then_some(ANNOUNCED);
            let numbers = self.live(*gallery, image).into_iter().chain(announced).collect();
            let seen = self.numbers(caller, *gallery, image, numbers);
            all.extend(seen.iter().map(|number| format!("{gallery} {image} {number}")));
        }
        all
    }

    /// The definitions that are called `image`.
    pub fn found(&self, caller: Name, image: Name) -> BTreeSet<String> {
        let all = self.all_images(caller).into_iter();
        all.filter(|one| one.split(' ').nth(1) == Some(image)).collect()
    }

    pub fn found_latest(&self, caller: Name, gallery: usize, image: Name) -> Answer {
        match self.readable(caller, At::Image(gallery, image)) {
            true => self.latest(caller, gallery, image),
            // A name does not tell what it is refused to.
            false => Answer::Absent,
        }
    }

    /// What a caller could delete if all definitions had passed the end of their lives.
    pub fn expired(&self, caller: Name) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (gallery, image) in &self.images {
            let may = |number: &u32| self.may(caller, DELETE_VERSION, At::Version(*gallery, image, *number));
            let goes: Vec<u32> = self.live(*gallery, image).into_iter().filter(may).collect();
            let soft = self.galleries[gallery].soft;
            let is_empty = match soft {
                true => self.kept(*gallery, image).is_empty(),
                false => self.kept(*gallery, image).iter().all(|number| goes.contains(number)),
            };
            all.extend(goes.iter().map(|number| format!("{gallery} {image} {number}")));
            let may = self.may(caller, "Microsoft.Compute/galleries/images/delete", At::Image(*gallery, image));
            if is_empty && may && !self.incomplete.contains(&(*gallery, image)) {
                all.insert(format!("{gallery} {image}"));
            }
        }
        all
    }

    pub fn forgets_machine(&self, caller: Name) -> Answer {
        match self.may(caller, "Microsoft.Compute/virtualMachines/write", At::Machine) {
            true => seen(),
            false => Answer::Forbidden,
        }
    }

    pub fn galleries(&self, caller: Name) -> BTreeSet<String> {
        let there = (0..GALLERIES.len()).filter(|gallery| self.readable(caller, At::Gallery(*gallery)));
        there.map(|gallery| GALLERIES[gallery].1.to_owned()).collect()
    }

    pub fn flat(&self, caller: Name, at: At) -> bool {
        self.readable(caller, at)
    }

    /// The definitions of a gallery; some may be seen without it.
    pub fn images(&self, caller: Name, gallery: usize) -> Answer {
        let there = self.images.iter().filter(|(of, _)| *of == gallery);
        let there: BTreeSet<String> = there
            .filter(|(_, image)| self.readable(caller, At::Image(gallery, image)))
            .map(|one| one.1.to_owned())
            .collect();
        match self.read(caller, At::Gallery(gallery)) {
            refused if there.is_empty() && refused != seen() => refused,
            _ => Answer::Seen(there),
        }
    }

    fn numbers(&self, caller: Name, gallery: usize, image: Name, numbers: Vec<u32>) -> Vec<u32> {
        let may = |number: &u32| self.may(caller, READ_VERSION, At::Version(gallery, image, *number));
        numbers.into_iter().filter(may).collect()
    }

    pub fn image_versions(&self, caller: Name, gallery: usize, image: Name) -> Answer {
        let announced = || self.incomplete.contains(&(gallery, image)).then_some(ANNOUNCED);
        let with_announced = |numbers: Vec<u32>| numbers.into_iter().chain(announced()).collect();
        let kept = self.numbers(caller, gallery, image, with_announced(self.kept(gallery, image)));
        let live = self.numbers(caller, gallery, image, with_announced(self.live(gallery, image)));
        match self.read(caller, At::Image(gallery, image)) {
            refused if kept.is_empty() && refused != seen() => refused,
            _ => Answer::Seen(names(live.into_iter())),
        }
    }

    fn below(&self, caller: Name, gallery: usize, image: Name, numbers: Vec<u32>) -> Answer {
        match self.read(caller, At::Image(gallery, image)) {
            Answer::Seen(_) => Answer::Seen(names(self.numbers(caller, gallery, image, numbers).into_iter())),
            refused => refused,
        }
    }

    pub fn soft_deleted(&self, caller: Name, gallery: usize, image: Name) -> Answer {
        let live = self.live(gallery, image);
        let deleted = self.kept(gallery, image).into_iter().filter(|number| !live.contains(number)).collect();
        self.below(caller, gallery, image, deleted)
    }

    pub fn explain_latest(&self, caller: Name, gallery: usize, image: Name) -> Answer {
        self.below(caller, gallery, image, self.kept(gallery, image))
    }

    /// Finding the latest takes the right to see the definition, and holds for no version that is denied.
    pub fn latest(&self, caller: Name, gallery: usize, image: Name) -> Answer {
        let there = self.read(caller, At::Image(gallery, image));
        let newest = self.live(gallery, image).into_iter().max();
        match (there, newest) {
            (Answer::Seen(_), None) => Answer::Absent,
            (Answer::Seen(_), Some(number))
                if self.is_denied(caller, READ_VERSION, At::Version(gallery, image, number)) =>
            {
                Answer::Forbidden
            }
            (there, _) => there,
        }
    }

    /// Deploying by id: what may be read, and of a definition its latest version.
    pub fn deploy(&self, caller: Name, at: At) -> Answer {
        match at {
            At::Image(gallery, image) => self.latest(caller, gallery, image),
            other => self.read(caller, other),
        }
    }

    /// Definitions and versions that the sharing matrix shows, and whether the gallery.
    pub fn matrix(&self, caller: Name, gallery: usize) -> BTreeSet<String> {
        let mut rows = BTreeSet::new();
        if self.readable(caller, At::Gallery(gallery)) {
            rows.insert("the gallery".to_owned());
        }
        for (_, image) in self.images.iter().filter(|(of, _)| *of == gallery) {
            if self.readable(caller, At::Image(gallery, image)) {
                rows.insert((*image).to_owned());
            }
            let numbers = self.numbers(caller, gallery, image, self.live(gallery, image));
            rows.extend(numbers.iter().map(|number| format!("{image} 1.0.{number}")));
        }
        rows
    }

    fn visible<T>(&self, caller: Name, there: &BTreeMap<(At, Name), T>) -> BTreeSet<String> {
        let seen = there.keys().filter(|(at, _)| self.stands(*at) && self.may(caller, READ_ASSIGNMENTS, *at));
        seen.map(|(at, id)| format!("{id} at {at:?}")).collect()
    }

    pub fn role_assignments(&self, caller: Name) -> BTreeSet<String> {
        self.visible(caller, &self.assignments)
    }

    pub fn deny_assignments(&self, caller: Name) -> BTreeSet<String> {
        self.visible(caller, &self.denials)
    }

    // Changes.

    /// Whether a caller is allowed a step; what else may stand against it is not this model's.
    pub fn allows(&self, caller: Name, step: &Step) -> bool {
        let may = |action: Name, at: At| self.may(caller, action, at);
        match step {
            Step::CreateGallery(gallery, soft) => {
                // Creating what is there as it is changes nothing.
                let same = self.galleries.get(gallery).is_some_and(|there| there.soft == *soft);
                may("Microsoft.Compute/galleries/write", At::Gallery(*gallery))
                    && (!soft || same || may(SHARE, At::Gallery(*gallery)))
            }
            Step::UpdateGallery(gallery, soft) => {
                let switches = self.galleries.get(gallery).is_some_and(|there| there.soft != *soft);
                may("Microsoft.Compute/galleries/write", At::Gallery(*gallery))
                    && (!switches || may(SHARE, At::Gallery(*gallery)))
            }
            Step::PutGallery(gallery, soft) => {
                let switches = self.galleries.get(gallery).map_or(*soft, |there| there.soft != *soft);
                may("Microsoft.Compute/galleries/write", At::Gallery(*gallery))
                    && (!switches || may(SHARE, At::Gallery(*gallery)))
            }
            Step::PutNamed(kind) => may(NAMED[kind_at(kind)].2, At::Group("dev")),
            Step::PutGroup(subscription) => {
                may("Microsoft.Resources/subscriptions/resourceGroups/write", At::Group(subscription))
            }
            Step::DeleteGroup(subscription) => {
                let galleries = self.galleries.keys().filter(|gallery| GALLERIES[**gallery].0 == *subscription);
                let of_group = galleries.map(|gallery| At::Gallery(*gallery));
                let flat = [(self.managed, At::Managed), (self.snapshot, At::Snapshot)];
                let flat = flat.into_iter().filter(|(is_there, _)| *is_there && *subscription == "dev");
                let mut all = of_group.chain(flat.map(|(_, at)| at));
                may("Microsoft.Resources/subscriptions/resourceGroups/delete", At::Group(subscription))
                    && (!self.resource_groups.contains(subscription)
                        || (all.all(|at| self.may_delete(caller, at, true, true))
                            && (*subscription != "dev"
                                || self.named.iter().all(|kind| may(NAMED[kind_at(kind)].3, At::Group("dev"))))))
            }
            Step::Announce(gallery, image) => {
                // The source is used only where a version is announced that is not there.
                let is_there = self.is_there(At::Version(*gallery, image, ANNOUNCED));
                may(WRITE_VERSION, At::Version(*gallery, image, ANNOUNCED))
                    && (is_there || self.may_use(caller, Source::Machine))
            }
            Step::Complete(gallery, image) => {
                let is_announced = self.incomplete.contains(&(*gallery, *image));
                may(WRITE_VERSION, At::Version(*gallery, image, ANNOUNCED))
                    && (!is_announced || self.may_use(caller, Source::Machine))
            }
            Step::CreateImage(gallery, image) | Step::UpdateImage(gallery, image) | Step::PutImage(gallery, image) => {
                may("Microsoft.Compute/galleries/images/write", At::Image(*gallery, image))
            }
            Step::Publish(gallery, image, number, source) => {
                may(WRITE_VERSION, At::Version(*gallery, image, *number)) && self.may_use(caller, *source)
            }
            Step::PublishNext(gallery, image) => {
                let next = At::Version(*gallery, image, self.next(*gallery, image));
                may(WRITE_VERSION, At::Image(*gallery, image)) && may(WRITE_VERSION, next)
            }
            Step::UpdateVersion(gallery, image, number)
            | Step::Restore(gallery, image, number)
            | Step::Exclude(gallery, image, number)
            | Step::Replicate(gallery, image, number) => may(WRITE_VERSION, At::Version(*gallery, image, *number)),
            Step::Lifecycle(gallery, image) => {
                let versions = self.live(*gallery, image).into_iter();
                let mut places = versions.map(|number| At::Version(*gallery, image, number));
                may(WRITE_VERSION, At::Image(*gallery, image)) && places.all(|place| may(WRITE_VERSION, place))
            }
            Step::CreateManaged => may("Microsoft.Compute/images/write", At::Managed),
            Step::CreateSnapshot => may("Microsoft.Compute/snapshots/write", At::Snapshot),
            Step::Delete { at, cascade, bypass } => self.may_delete(caller, *at, *cascade, *bypass),
            Step::Share(gallery, _) => may(SHARE, At::Gallery(*gallery)),
            Step::DefineRole(id, role) => {
                let before = self.roles.get(id).into_iter();
                let write = "Microsoft.Authorization/roleDefinitions/write";
                before.chain([role]).all(|role| self.owns_role(caller, write, id, role))
            }
            Step::DeleteRole(id) => match self.roles.get(id) {
                Some(role) => self.owns_role(caller, "Microsoft.Authorization/roleDefinitions/delete", id, role),
                None => caller == ROOT,
            },
            Step::Assign(at, ..) => may("Microsoft.Authorization/roleAssignments/write", *at),
            Step::Unassign(at, _) => may("Microsoft.Authorization/roleAssignments/delete", *at),
            Step::Deny(at, ..) => may("Microsoft.Authorization/denyAssignments/write", *at),
            Step::Undeny(at, _) => may("Microsoft.Authorization/denyAssignments/delete", *at),
            Step::Collect | Step::Compress | Step::RotateKeys | Step::Scrub | Step::Truncate | Step::BeginsAfter => {
                caller == ROOT
            }
        }
    }

    /// Rights on a source, as the service asks for them; and what may not be read is not read by a version, either.
    fn may_use(&self, caller: Name, source: Source) -> bool {
        let may = |action: Name, at: At| self.may(caller, action, at);
        match source {
            Source::Disk => true,
            Source::Managed => may("Microsoft.Compute/images/read", At::Managed),
            Source::Snapshot => {
                may("Microsoft.Compute/snapshots/write", At::Snapshot)
                    && !self.is_denied(caller, "Microsoft.Compute/snapshots/read", At::Snapshot)
            }
            Source::Version(gallery, image, number) => may(READ_VERSION, At::Version(gallery, image, number)),
            Source::Blob => may("Microsoft.Storage/storageAccounts/listKeys/action", At::Account),
            Source::Machine => may("Microsoft.Compute/virtualMachines/write", At::Machine),
        }
    }

    fn may_delete(&self, caller: Name, at: At, cascade: bool, bypass: bool) -> bool {
        let may = |action: Name, at: At| self.may(caller, action, at);
        let version = |gallery: usize, image: Name, number: u32, for_good: bool| {
            // A version that can be restored is purged only by callers who may switch soft delete off.
            let soft = self.galleries[&gallery].soft;
            let deleted = self.versions[&(gallery, image, number)].is_some();
            let for_good = for_good || !soft;
            let keeps = (soft || deleted) && for_good;
            may("Microsoft.Compute/galleries/images/versions/delete", At::Version(gallery, image, number))
                && (!keeps || may(SHARE, At::Gallery(gallery)))
        };
        let image = |gallery: usize, image: Name| {
            may("Microsoft.Compute/galleries/images/delete", At::Image(gallery, image))
                && (!cascade
                    || (self.kept(gallery, image).into_iter().all(|number| version(gallery, image, number, true))
                        && (!self.incomplete.contains(&(gallery, image))
                            || may(DELETE_VERSION, At::Version(gallery, image, ANNOUNCED)))))
        };
        match at {
            At::Version(gallery, of, number) => match self.kept(gallery, of).contains(&number) {
                true => version(gallery, of, number, bypass),
                false => may("Microsoft.Compute/galleries/images/versions/delete", at),
            },
            At::Image(gallery, of) => image(gallery, of),
            At::Gallery(gallery) => {
                let mut images = self.images.iter().filter(|(of, _)| *of == gallery);
                may("Microsoft.Compute/galleries/delete", at) && (!cascade || images.all(|(_, of)| image(gallery, of)))
            }
            At::Managed => may("Microsoft.Compute/images/delete", at),
            At::Snapshot => may("Microsoft.Compute/snapshots/delete", at),
            other => unreachable!("{other:?} is nothing that is deleted"),
        }
    }

    /// A role belongs to those who have the right at each of its assignable scopes, and wherever it is assigned.
    fn owns_role(&self, caller: Name, action: Name, id: Name, role: &Role) -> bool {
        let assigned = self.assignments.iter().filter(|((at, _), (_, of))| *of == id && self.stands(*at));
        let mut scopes = assigned.map(|((at, _), _)| *at).chain(role.scopes.iter().copied());
        caller == ROOT || (!role.scopes.is_empty() && scopes.all(|at| self.may(caller, action, at)))
    }

    /// Whether a step must not succeed for any caller: it would leave an assignment outside of where its role may be assigned,
    /// or without a role, or at what does not exist.
    pub fn is_impossible(&self, step: &Step) -> bool {
        let assigned = |id: Name| {
            let there = self.assignments.iter().filter(move |((at, _), (_, of))| *of == id && self.stands(*at));
            there.map(|((at, _), _)| *at)
        };
        match step {
            Step::DefineRole(id, role) => {
                let outside = |at: At| self.chain(at).iter().all(|above| !role.scopes.contains(above));
                !role.scopes.is_empty() && assigned(id).any(outside)
            }
            Step::DeleteRole(id) => assigned(id).next().is_some(),
            Step::Assign(at, ..) | Step::Deny(at, ..) => !self.is_there(*at),
            _ => false,
        }
    }

    /// Applies a step that succeeded.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateGallery(gallery, soft) => {
                self.galleries.entry(*gallery).or_insert_with(|| Gallery { soft: *soft, ..Gallery::default() });
            }
            Step::UpdateGallery(gallery, soft) => self.galleries.get_mut(gallery).unwrap().soft = *soft,
            Step::PutGallery(gallery, soft) => {
                self.galleries.entry(*gallery).or_default().soft = *soft;
            }
            Step::PutNamed(kind) => drop(self.named.insert(kind)),
            Step::PutGroup(subscription) => {
                self.resource_groups.insert(subscription);
            }
            Step::DeleteGroup(subscription) => {
                self.resource_groups.remove(subscription);
                let of_group = |gallery: &usize| GALLERIES[*gallery].0 == *subscription;
                let galleries: Vec<usize> = self.galleries.keys().copied().filter(of_group).collect();
                galleries.into_iter().for_each(|gallery| self.delete(At::Gallery(gallery), true));
                if *subscription == "dev" {
                    self.delete(At::Managed, true);
                    self.delete(At::Snapshot, true);
                    self.named.clear();
                }
                self.end(|at| at == At::Group(subscription));
            }
            Step::CreateImage(gallery, image) | Step::PutImage(gallery, image) => {
                self.images.insert((*gallery, image));
            }
            Step::Announce(gallery, image) => {
                if !self.is_there(At::Version(*gallery, image, ANNOUNCED)) {
                    self.end(|at| at == At::Version(*gallery, image, ANNOUNCED));
                    self.incomplete.insert((*gallery, image));
                }
            }
            Step::Complete(gallery, image) => {
                self.incomplete.remove(&(*gallery, *image));
                self.versions.insert((*gallery, image, ANNOUNCED), None);
            }
            Step::Publish(gallery, image, number, _) => {
                self.end(|at| at == At::Version(*gallery, image, *number));
                self.versions.insert((*gallery, image, *number), None);
            }
            Step::PublishNext(gallery, image) => {
                let next = self.next(*gallery, image);
                self.end(|at| at == At::Version(*gallery, image, next));
                self.versions.insert((*gallery, image, next), None);
            }
            Step::Restore(gallery, image, number) => {
                self.versions.insert((*gallery, image, *number), None);
            }
            Step::CreateManaged => self.managed = true,
            Step::CreateSnapshot => self.snapshot = true,
            Step::Delete { at, bypass, .. } => self.delete(*at, *bypass),
            Step::Share(gallery, update) => {
                let there = self.galleries.get_mut(gallery).unwrap();
                match update {
                    Share::Add(subscriptions, tenants) => {
                        there.subscriptions.extend(subscriptions);
                        there.tenants.extend(tenants);
                    }
                    Share::Remove(subscriptions, tenants) => {
                        there.subscriptions.retain(|one| !subscriptions.contains(one));
                        there.tenants.retain(|one| !tenants.contains(one));
                    }
                    Share::Reset => *there = Gallery { soft: there.soft, ..Gallery::default() },
                    // Its public name is drawn: the caller of this puts it here.
                    Share::Community => {}
                }
            }
            Step::DefineRole(id, role) => {
                self.roles.insert(id, role.clone());
            }
            Step::DeleteRole(id) => {
                self.roles.remove(id);
                self.assignments.retain(|_, (_, of)| of != id);
            }
            Step::Assign(at, id, principal, role) => {
                self.assignments.insert((*at, id), (principal, role));
            }
            Step::Unassign(at, id) => {
                self.assignments.remove(&(*at, *id));
            }
            Step::Deny(at, id, denial) => {
                self.denials.insert((*at, id), denial.clone());
            }
            Step::Undeny(at, id) => {
                self.denials.remove(&(*at, *id));
            }
            Step::Collect => {
                let gone: Vec<_> = self.versions.keys().filter(|key| self.is_gone(**key)).copied().collect();
                for key in gone {
                    self.versions.remove(&key);
                    self.end(|at| at == At::Version(key.0, key.1, key.2));
                }
            }
            Step::UpdateImage(..)
            | Step::UpdateVersion(..)
            | Step::Replicate(..)
            | Step::Exclude(..)
            | Step::Lifecycle(..)
            | Step::Compress
            | Step::RotateKeys
            | Step::Scrub
            | Step::Truncate
            | Step::BeginsAfter => {}
        }
    }

    fn delete(&mut self, at: At, bypass: bool) {
        match at {
            At::Version(gallery, image, number) => {
                let key = (gallery, image, number);
                if !self.kept(gallery, image).contains(&number) {
                    return;
                }
                if self.galleries[&gallery].soft && !bypass {
                    let until = self.now + RETENTION;
                    let there = self.versions.get_mut(&key).unwrap();
                    *there = there.or(Some(until));
                    return;
                }
                self.versions.remove(&key);
                self.end(|one| one == at);
            }
            At::Image(gallery, image) => {
                self.images.remove(&(gallery, image));
                self.incomplete.remove(&(gallery, image));
                self.versions.retain(|key, _| (key.0, key.1) != (gallery, image));
                self.end(|one| matches!(one, At::Image(of, name) | At::Version(of, name, _) if (of, name) == (gallery, image)));
            }
            At::Gallery(gallery) => {
                self.galleries.remove(&gallery);
                self.images.retain(|(of, _)| *of != gallery);
                self.incomplete.retain(|(of, _)| *of != gallery);
                self.versions.retain(|key, _| key.0 != gallery);
                self.end(
                    |one| matches!(one, At::Gallery(of) | At::Image(of, _) | At::Version(of, ..) if of == gallery),
                );
            }
            At::Managed => {
                self.managed = false;
                self.end(|one| one == at);
            }
            At::Snapshot => {
                self.snapshot = false;
                self.end(|one| one == at);
            }
            other => unreachable!("{other:?} is nothing that is deleted"),
        }
    }

    /// Ends the assignments that stood there.
    fn end(&mut self, ended: impl Fn(At) -> bool) {
        self.assignments.retain(|(at, _), _| !ended(*at));
        self.denials.retain(|(at, _), _| !ended(*at));
    }
}

fn names(numbers: impl Iterator<Item = u32>) -> BTreeSet<String> {
    numbers.map(|number| format!("1.0.{number}")).collect()
}
