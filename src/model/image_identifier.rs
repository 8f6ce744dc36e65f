//! Publisher, offer and SKU.

use serde::{Deserialize, Serialize};

use super::body::{Fields, FromBody};
use crate::error::{Error, Problem, Result};

/// Publisher, offer and SKU of an image definition: together unique within a gallery, compared without case.
///
/// Azure: publisher has up to 128, offer and SKU up to 64 letters, digits, `-`, `_` and `.`; none is empty or ends in `.`.
///
/// ```
/// use compute_gallery::model::ImageIdentifier;
///
/// let identifier = ImageIdentifier::new("Contoso", "Finance", "Backend")?;
/// assert_eq!(identifier, ImageIdentifier::new("contoso", "finance", "backend")?);
/// let error = ImageIdentifier::new("", "Finance", "Backend.").unwrap_err();
/// assert_eq!(error.problems().count(), 2);
/// # Ok::<(), compute_gallery::Error>(())
/// ```
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct ImageIdentifier {
    publisher: String,
    offer: String,
    sku: String,
}

#[derive(Deserialize)]
struct Parts {
    publisher: String,
    offer: String,
    sku: String,
}

impl ImageIdentifier {
    /// Returns an identifier of three parts.
    ///
    /// # Errors
    ///
    /// `Invalid`, with a problem for each part that breaks the rule.
    pub fn new(publisher: &str, offer: &str, sku: &str) -> Result<Self> {
        let parts = [("publisher", publisher), ("offer", offer), ("sku", sku)];
        Error::from_problems(parts.into_iter().filter_map(|(part, value)| wrong(part, value)).collect())?;
        Ok(Self { publisher: publisher.into(), offer: offer.into(), sku: sku.into() })
    }

    /// Returns the publisher, such as `Contoso`.
    pub fn publisher(&self) -> &str {
        &self.publisher
    }

    /// Returns the offer: a group of related images, such as `Web`.
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Returns the SKU: one image of the offer, such as `Frontend`.
    pub fn sku(&self) -> &str {
        &self.sku
    }
}

impl PartialEq for ImageIdentifier {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        same(&self.publisher, &other.publisher) && same(&self.offer, &other.offer) && same(&self.sku, &other.sku)
    }
}

impl FromBody for ImageIdentifier {
    fn from_body(path: &str, value: &serde_json::Value) -> Result<Self> {
        let mut fields = Fields::of(path, value)?;
        let [publisher, offer, sku] = ["publisher", "offer", "sku"].map(|part| {
            let value: Option<String> = fields.required(part);
            fields.add(value.as_ref().and_then(|value| wrong(part, value)).into_iter().collect());
            value
        });
        fields.end((|| Some(Self { publisher: publisher?, offer: offer?, sku: sku? }))())
    }
}

/// Returns the problem of a part that breaks the rule.
fn wrong(part: &str, value: &str) -> Option<Problem> {
    let longest = if part == "publisher" { 128 } else { 64 };
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = !value.is_empty() && value.len() <= longest && value.bytes().all(inside) && !value.ends_with('.');
    (!good).then(|| {
        let target = format!("galleryImage.properties.identifier.{part}");
        let what = format!(
            "Asset name {target} is not valid. It cannot be empty. Allowed characters are uppercase or lowercase letters, \
             digits, hyphen(-), period (.), underscore (_). Names are not allowed to end with period(.). The length of the name \
             cannot exceed {longest} characters."
        );
        Problem::invalid(target, what).with_advice(format!("the given value is `{}`", value.escape_debug()))
    })
}

impl TryFrom<Parts> for ImageIdentifier {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        Self::new(&parts.publisher, &parts.offer, &parts.sku)
    }
}
