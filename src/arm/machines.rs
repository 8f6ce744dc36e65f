//! VMs, scale sets and disks that name an image: it is looked up, and its rules are kept, as where one is made of it.

use http::{Method, StatusCode};
use serde_json::Value;

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::inner::only;
use crate::error::{Error, ErrorKind};
use crate::model::{Region, SecurityType};
use crate::service::deploy::{BootImage, ImageRef, OsProfile};
use crate::service::session::Session;

/// Where a refused image stood in the request.
const REFERENCE: &str = "imageReference";

/// Answers for a VM or scale set of a group that is there. None is made here: what can be said of its image is said, and then it is refused.
pub(super) async fn answer(call: &Call) -> Answered {
    only(call, &[Method::GET, Method::PUT, Method::PATCH, Method::DELETE])?;
    let (kind, name) = (call.segment(6), call.segment(7));
    match call.method {
        Method::GET => {
            let what = format!(
                "The Resource 'Microsoft.Compute/{kind}/{name}' under resource group '{}' was not found.",
                call.segment(3)
            );
            Err(Refusal::not_found("ResourceNotFound", what))
        }
        Method::DELETE => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        _ => {
            check(&call.session, name, &call.body()?).await?;
            let what = format!(
                "The resource type 'Microsoft.Compute/{kind}' is not supported by this gallery: '{name}' was not made. Its image can be \
                 used as it is asked for."
            );
            Err(Refusal::bad_request("InvalidResourceType", what))
        }
    }
}

/// Returns the image that a VM, a scale set or a disk names, unless it is of the marketplace.
pub(super) fn image(body: &Value) -> Option<&str> {
    let reference = ["/properties/storageProfile", "/properties/virtualMachineProfile/storageProfile"]
        .iter()
        .find_map(|above| body.pointer(above)?.get("imageReference"))
        .or_else(|| body.pointer("/properties/creationData/galleryImageReference"))?;
    let text = |name: &&str| reference.get(*name).and_then(Value::as_str).filter(|id| !id.is_empty());
    ["id", "sharedGalleryImageId", "communityGalleryImageId"].iter().find_map(text)
}

fn region(body: &Value) -> Result<Region, Refusal> {
    Ok(body.get("location").and_then(Value::as_str).unwrap_or_default().parse()?)
}

/// Checks the image of a VM or scale set, and that it fits what is asked for.
pub(super) async fn check(session: &Session, name: &str, body: &Value) -> Result<(), Refusal> {
    let Some(image) = image(body) else { return Ok(()) };
    let region = region(body)?;
    let is_public = image.to_ascii_lowercase().starts_with("/sharedgalleries/")
        || image.to_ascii_lowercase().starts_with("/communitygalleries/");
    if is_public {
        // What its owner tells of a shared image: that it can be deployed there.
        return readable(session, image, &region, None).await.map(drop);
    }
    let boot = session.boot_image(image, &region).await.map_err(at_reference)?;
    let Some(properties) = body.get("properties") else { return Ok(()) };
    let machine = properties.get("virtualMachineProfile").unwrap_or(properties);
    let vm = match machine.get("osProfile").filter(|profile| !profile.is_null()) {
        None => boot.specialized()?.vm(name.parse()?),
        Some(profile) => {
            let image = BootImage::generalized(boot)?;
            let user = profile.get("adminUsername").and_then(Value::as_str).unwrap_or_default();
            image.vm(name.parse()?, OsProfile::new(user)?)
        }
    };
    let wanted = machine.pointer("/securityProfile/securityType").and_then(Value::as_str).unwrap_or("Standard");
    let known = [SecurityType::Standard, SecurityType::TrustedLaunch, SecurityType::ConfidentialVm];
    let wanted = known.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(wanted)).unwrap_or_default();
    vm.with_security_type(wanted)?;
    Ok(())
}

/// Whether a resource names an image that is not there, or not in its region.
pub(super) async fn is_absent(session: &Session, body: &Value) -> Result<bool, Refusal> {
    let Some(image) = image(body) else { return Ok(false) };
    let plan = session.deploy(ImageRef::try_from(image)?, region(body)?).plan().await?;
    Ok(plan.problems.iter().any(|problem| problem.kind() == ErrorKind::NotFound))
}

/// Checks the image that a disk is to be made of, and returns the bytes of the disk; `None` for a disk of something else.
pub(super) async fn disk_bytes(session: &Session, body: &Value) -> Result<Option<u64>, Refusal> {
    let reference = "/properties/creationData/galleryImageReference";
    let Some(image) = body.pointer(reference).and_then(|_| image(body)) else { return Ok(None) };
    let lun = body.pointer(reference).and_then(|of| of.get("lun")).and_then(Value::as_u64);
    let lun = lun.map(|lun| u32::try_from(lun).unwrap_or(u32::MAX));
    readable(session, image, &region(body)?, lun).await.map(Some)
}

/// Returns the bytes of a disk of an image that can be deployed in a region.
async fn readable(session: &Session, image: &str, region: &Region, lun: Option<u32>) -> Result<u64, Refusal> {
    let deployment = session.deploy(ImageRef::try_from(image)?, region);
    let deployment = if let Some(lun) = lun { deployment.data_disk(lun) } else { deployment };
    let plan = deployment.plan().await?;
    plan.check().map_err(at_reference)?;
    Ok(plan.regions.first().map_or(0, |region| region.read_bytes))
}

/// Azure tells where an image stood that is not there.
fn at_reference(error: Error) -> Refusal {
    let is_absent = error.code() == "GalleryImageNotFound";
    let refusal = Refusal::from(error);
    if is_absent { refusal.at(REFERENCE) } else { refusal }
}
