//! Two tenants, their people, and a gallery with one of each thing in it.

use compute_gallery::access::*;
use compute_gallery::disk::DiskSource;
use compute_gallery::model::*;
use compute_gallery::publish::{NewManagedImage, NewSnapshot};
use compute_gallery::testkit::{Sandbox, raw};
use compute_gallery::*;

pub fn gallery_id() -> GalleryId {
    "/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/galleries/g".parse().unwrap()
}

pub fn image_id() -> ImageDefinitionId {
    gallery_id().image("web".parse().unwrap())
}

pub fn version_id() -> ImageVersionId {
    image_id().version("1.0.0".parse().unwrap())
}

pub fn region() -> Region {
    "westeurope".parse().unwrap()
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub fn flat<T: std::str::FromStr<Err = Error>>(kind: &str) -> T {
    format!("/subscriptions/dev/resourceGroups/images/providers/Microsoft.Compute/{kind}/x").parse().unwrap()
}

/// `ann` and the application `ci` are of Contoso, which has the subscription `dev` in the management group `prod`; `bob` is
/// of Fabrikam; `gus` is of Fabrikam and a guest of Contoso. `ann` is in `web`, which is in `all`.
pub fn directory() -> MemoryDirectory {
    let directory = MemoryDirectory::new();
    let (contoso, fabrikam) = (tenant("contoso"), tenant("fabrikam"));
    directory.add_user("ann", &contoso).unwrap();
    directory.add_application("ci", &contoso).unwrap();
    directory.add_user("bob", &fabrikam).unwrap();
    directory.add_user("gus", &fabrikam).unwrap();
    directory.add_guest("gus@contoso", &contoso, "gus").unwrap();
    for group in ["web", "all"] {
        directory.add_group(group, &contoso).unwrap();
    }
    directory.add_member("web", "ann").unwrap();
    directory.add_member("all", "web").unwrap();
    let prod = directory.add_management_group("prod", &contoso, None).unwrap();
    directory.add_subscription("dev".parse().unwrap(), contoso, Some(prod)).unwrap();
    directory.add_subscription("lab".parse().unwrap(), fabrikam, None).unwrap();
    directory
}

pub fn scopes() -> Vec<AccessScope> {
    vec![
        AccessScope::TenantRoot(tenant("contoso")),
        AccessScope::ManagementGroup("prod".parse().unwrap()),
        AccessScope::Subscription("dev".parse().unwrap()),
        AccessScope::ResourceGroup("dev".parse().unwrap(), "images".parse().unwrap()),
        gallery_id().into(),
        image_id().into(),
        version_id().into(),
    ]
}

pub fn assignment(id: &str, principal: &str, role: BuiltInRole, scope: impl Into<AccessScope>) -> RoleAssignment {
    RoleAssignment::new(id, principal.parse().unwrap(), role.id(), scope).unwrap()
}

pub struct World {
    pub directory: MemoryDirectory,
    pub sandbox: Sandbox,
}

impl World {
    pub async fn new() -> Self {
        let directory = directory();
        let settings = Sandbox::builder().regions(["westeurope"]).directory(directory.clone()).empty();
        // `root` may do everything, as an operator's account does.
        let settings = settings.service(|builder| builder.administrator("root".parse().unwrap()));
        Self { directory, sandbox: settings.build().await.unwrap() }
    }

    /// Another service on the same stores, as in another process.
    pub async fn other_service(&self) -> Sandbox {
        self.sandbox.reopen().build().await.unwrap()
    }

    pub fn session(&self, caller: &str) -> Session {
        self.sandbox.session_of(caller)
    }

    pub async fn assign(&self, assignment: RoleAssignment) {
        self.session("root").assign_role(assignment).await.unwrap();
    }

    /// With a gallery, a definition, a version, a managed image and a snapshot.
    pub async fn filled(sharing: Option<SharingProfile>) -> Self {
        let world = Self::new().await;
        world.fill(sharing.map_or(gallery(), |sharing| gallery().with_sharing_profile(sharing))).await;
        let root = world.session("root");
        let image = NewManagedImage::new(flat("images"), region(), OsType::Linux, disk());
        root.create_managed_image(image).await.unwrap();
        root.create_snapshot(NewSnapshot::of_data_disk(flat("snapshots"), region(), disk())).await.unwrap();
        world
    }

    /// Creates the gallery, with a definition and a version.
    pub async fn fill(&self, gallery: Gallery) {
        let root = self.session("root");
        root.create_gallery(gallery).await.unwrap();
        root.create_image_definition(definition()).await.unwrap();
        root.publish(version(version_id(), disk())).await.unwrap();
    }
}

pub fn gallery() -> Gallery {
    Gallery::new(gallery_id(), region())
}

pub fn definition() -> ImageDefinition {
    let identifier = ImageIdentifier::new("a", "b", "c").unwrap();
    ImageDefinition::new(image_id(), region(), OsType::Linux, OsState::Generalized, identifier)
}

pub fn disk() -> DiskSource {
    raw(vec![7; 4096])
}

pub fn version(id: ImageVersionId, source: impl Into<ImageSource>) -> NewImageVersion {
    NewImageVersion::new(id, region(), PublishingProfile::new("westeurope".parse().unwrap()), source)
}
