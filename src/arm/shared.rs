//! Shared and community galleries by location, as their consumers see them.

use http::Method;
use serde_json::{Value, json};

use super::answer::{Answer, Answered, Refusal};
use super::call::Call;
use super::groups;
use super::inner::{Inner, only};
use super::page::{Paging, key};
use super::versions::ApiVersion;
use crate::model::Region;
use crate::service::read::{
    CatalogView, ListScope, PublicGallery, PublicImageId, SharedGallery, SharedImage, SharedImageVersion,
};

const GIB: u64 = 1 << 30;

pub(super) async fn answer(inner: &Inner, call: &Call, path: &[&str]) -> Answered {
    let is_community = path.get(6) == Some(&"communitygalleries");
    let kind = if is_community { "locations/communityGalleries" } else { "locations/sharedGalleries" };
    let version = call.gallery_version(kind, inner.settings.strict_versions)?;
    let since = if is_community { ApiVersion::V2021_07_01 } else { ApiVersion::V2020_09_30 };
    if version < since {
        return Err(groups::unknown(call));
    }
    only(call, &[Method::GET])?;
    let region: Region = call.segment(5).parse()?;
    let view = call.session.refresh().await?;
    let name = call.segment(7).to_owned();
    let gallery = if is_community { PublicGallery::Community(name) } else { PublicGallery::Shared(name) };
    let look = Look { view: &view, gallery, region, is_community, version };
    let named = |name: &str| Ok::<_, Refusal>(PublicImageId::new(look.gallery.clone(), name.parse()?));
    let paging = || Paging::of(call, &inner.settings);
    match path.get(7..).unwrap_or_default() {
        [] if !is_community => {
            let shared = view.shared_galleries();
            let shared = shared.iter().map(|gallery| (gallery.unique_id.to_ascii_lowercase(), gallery));
            paging()?.of_all(shared, |gallery| Ok(look.gallery(gallery)))
        }
        [_] => Ok(Answer::ok(look.gallery(&view.public_gallery(&look.gallery)?))),
        [_, "images"] => {
            let images = view.public_images(&look.gallery)?;
            let here = images.iter().filter(|image| look.is_here(image));
            let here = here.map(|image| (image.name.to_ascii_lowercase(), image));
            paging()?.of_all(here, |image| Ok(look.image(image)))
        }
        [_, "images", _] => {
            let images = view.public_images(&look.gallery)?;
            let name = call.segment(9);
            let image = images.iter().find(|image| image.name.eq_ignore_ascii_case(name));
            let image = image.filter(|image| look.is_here(image)).ok_or_else(|| not_there(call))?;
            Ok(Answer::ok(look.image(image)))
        }
        [_, "images", _, "versions"] => {
            let versions = view.public_versions(named(call.segment(9))?, &look.region)?;
            let key_of = |version: &SharedImageVersion| Ok::<_, Refusal>(key(&version.name.parse()?));
            let keyed = versions.iter().map(|version| Ok((key_of(version)?, version)));
            paging()?.of_all(keyed.collect::<Result<Vec<_>, Refusal>>()?, |version| Ok(look.version(version)))
        }
        [_, "images", _, "versions", number] => {
            let versions = view.public_versions(named(call.segment(9))?, &look.region)?;
            let version = versions.iter().find(|version| version.name == *number).ok_or_else(|| not_there(call))?;
            Ok(Answer::ok(look.version(version)))
        }
        _ => Err(groups::unknown(call)),
    }
}

/// Answers the one query of Resource Graph that az asks: for the community galleries, of those that the caller may read.
pub(super) async fn graph(call: &Call) -> Answered {
    call.any_version()?;
    only(call, &[Method::POST])?;
    let body = call.body()?;
    let query = body.get("query").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if !query.starts_with("communitygalleryresources") {
        let what = "The query is not supported: the table 'communitygalleryresources' alone is there.";
        return Err(Refusal::bad_request("InvalidQuery", what));
    }
    let location = query.split("location == '").nth(1).and_then(|rest| rest.split('\'').next());
    let view = call.session.refresh().await?;
    let mut found = Vec::new();
    for gallery in view.galleries(&ListScope::All, None, usize::MAX).items {
        let Some(name) = view.gallery_sharing(gallery.id())?.public_name.clone() else { continue };
        let region = gallery.location().clone();
        if location.is_some_and(|wanted| wanted != region.as_str()) {
            continue;
        }
        let gallery = PublicGallery::Community(name);
        let of = view.public_gallery(&gallery)?;
        let look = Look { view: &view, gallery, region, is_community: true, version: ApiVersion::LATEST };
        let mut item = look.gallery(&of);
        let place = format!("/providers/Microsoft.Compute/locations/{}", look.region);
        if let Value::Object(item) = &mut item {
            let identifier = item.remove("identifier").unwrap_or_default();
            item.insert("id".into(), json!(format!("{place}/communityGalleries/{}", of.name)));
            if let Some(Value::Object(properties)) = item.get_mut("properties") {
                properties.insert("identifier".into(), identifier);
            }
        }
        found.push(item);
    }
    let count = found.len();
    Ok(Answer::ok(json!({
        "totalRecords": count, "count": count, "data": found, "facets": [], "resultTruncated": "false",
    })))
}

fn not_there(call: &Call) -> Refusal {
    let what = format!(
        "The gallery image {} is not available in {} region. Please contact image owner to replicate to this region, or \
         change your requested region.",
        call.segments.from(6),
        call.segment(5)
    );
    Refusal::not_found("GalleryImageNotFound", what)
}

/// How the answers of one request are made.
struct Look<'a> {
    view: &'a CatalogView,
    gallery: PublicGallery,
    region: Region,
    is_community: bool,
    version: ApiVersion,
}

impl Look<'_> {
    /// Whether a region has a version of the image: a proxy is only there.
    fn is_here(&self, image: &SharedImage) -> bool {
        let id = image.name.parse().map(|name| PublicImageId::new(self.gallery.clone(), name));
        id.and_then(|id| self.view.public_versions(id, &self.region)).is_ok_and(|versions| !versions.is_empty())
    }

    fn envelope(&self, name: &str, unique_id: &str, kind: &str, properties: Value) -> Value {
        let mut item = json!({"name": name, "location": self.region, "identifier": {"uniqueId": unique_id}});
        if let Value::Object(item) = &mut item {
            if self.is_community {
                item.insert("type".into(), json!(format!("Microsoft.Compute/locations/{kind}")));
            }
            if properties.as_object().is_some_and(|properties| !properties.is_empty()) {
                item.insert("properties".into(), properties);
            }
        }
        item
    }

    fn has(&self, since: ApiVersion) -> bool {
        self.version >= since
    }

    fn gallery(&self, gallery: &SharedGallery) -> Value {
        let mut properties = json!({});
        if let Value::Object(properties) = &mut properties {
            if self.has(ApiVersion::V2022_08_03) {
                properties.insert("artifactTags".into(), json!({}));
            }
            if self.is_community && self.has(ApiVersion::V2022_08_03) {
                properties.insert("disclaimer".into(), json!(""));
                let metadata = json!({
                    "publisherUri": gallery.publisher_uri, "publisherContact": gallery.publisher_contact,
                    "eula": gallery.eula, "publicNames": [gallery.name],
                });
                properties.insert("communityMetadata".into(), metadata);
            }
        }
        self.envelope(&gallery.name, &gallery.unique_id, "communityGalleries", properties)
    }

    fn image(&self, image: &SharedImage) -> Value {
        let mut properties = json!({
            "osType": image.os_type, "osState": image.os_state, "identifier": image.identifier,
            "hyperVGeneration": image.hyper_v_generation,
        });
        if let (true, Value::Object(properties)) = (self.has(ApiVersion::V2021_10_01), &mut properties) {
            properties.insert("architecture".into(), json!(image.architecture));
        }
        self.envelope(&image.name, &image.unique_id, "communityGalleryImages", properties)
    }

    fn version(&self, version: &SharedImageVersion) -> Value {
        let mut properties = json!({"publishedDate": version.published_date});
        if let Value::Object(properties) = &mut properties {
            if let Some(date) = version.end_of_life_date {
                properties.insert("endOfLifeDate".into(), json!(date));
            }
            if self.has(ApiVersion::V2022_03_03) {
                let gib = |bytes: u64| bytes.div_ceil(GIB);
                let disk =
                    |(lun, bytes): &(u32, u64)| json!({"lun": lun, "diskSizeGB": gib(*bytes), "hostCaching": "None"});
                let mut storage =
                    json!({"osDiskImage": {"diskSizeGB": gib(version.os_disk_bytes), "hostCaching": "None"}});
                if let (false, Value::Object(storage)) = (version.data_disks.is_empty(), &mut storage) {
                    storage.insert("dataDiskImages".into(), version.data_disks.iter().map(disk).collect());
                }
                properties.insert("excludeFromLatest".into(), json!(version.exclude_from_latest));
                properties.insert("storageProfile".into(), storage);
            }
            if self.has(ApiVersion::V2022_08_03) {
                properties.insert("artifactTags".into(), json!({}));
            }
            if self.has(ApiVersion::V2026_03_03) {
                properties.insert("imageState".into(), json!("Active"));
            }
        }
        self.envelope(&version.name, &version.unique_id, "communityGalleryImageVersions", properties)
    }
}
