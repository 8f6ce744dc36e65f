//! Names of resources: case is kept and does not count.

use std::sync::Arc;

use super::text::text_newtype;
use crate::error::{Error, ErrorKind, Problem, Result};

/// What makes a name of one kind valid.
struct Rule {
    /// The property that an error names.
    field: &'static str,
    /// In characters.
    max_len: usize,
    /// Whether letters and digits of all scripts count as such, or only those of ASCII.
    all_scripts: bool,
    /// The characters that may stand beside letters and digits.
    others: &'static str,
    ends: Ends,
    /// Azure's sentence about a wrong name, where it has one.
    sentence: Option<fn(&str) -> String>,
    words: &'static str,
}

/// What may stand at the ends of a name.
enum Ends {
    Any,
    NoPeriodLast,
    LetterOrDigit,
    /// And an underscore last.
    LetterOrDigitFirst,
}

impl Rule {
    fn check(&self, name: &str) -> Result<Arc<str>> {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || (self.all_scripts && char.is_alphanumeric());
        let is_inside = |char: char| is_plain(char) || self.others.contains(char);
        let (first, last) = (name.chars().next(), name.chars().next_back());
        let ends = match self.ends {
            Ends::Any => true,
            Ends::NoPeriodLast => last != Some('.'),
            Ends::LetterOrDigit => first.is_some_and(is_plain) && last.is_some_and(is_plain),
            Ends::LetterOrDigitFirst => {
                first.is_some_and(is_plain) && last.is_some_and(|last| is_plain(last) || last == '_')
            }
        };
        if name.is_empty() || name.chars().count() > self.max_len || !name.chars().all(is_inside) || !ends {
            return Err(self.broken_by(name));
        }
        Ok(name.into())
    }

    /// Returns the error for a name that breaks the rule, in Azure's words where it has some. Azure's front door has a
    /// code of its own for a name with a wrong end.
    fn broken_by(&self, name: &str) -> Error {
        let (shown, words) = (name.escape_debug(), self.words);
        let Some(sentence) = self.sentence else {
            return Error::invalid(self.field, format!("`{shown}` is not allowed: {words}"));
        };
        let problem = match name.chars().next_back() {
            Some(last @ ('.' | '_' | '-')) => {
                let what = format!(
                    "The provided resource name '{shown}' has these invalid trailing characters: '{last}'. The name can not \
                     end with characters: '.', '_', '-'."
                );
                Problem::new(ErrorKind::Invalid, "InvalidResourceName", self.field, what)
            }
            _ => Problem::invalid(self.field, sentence(name)),
        };
        Error::new(problem.with_advice(format!("`{shown}` is not allowed: {words}")))
    }
}

/// Returns Azure's sentence about a gallery's name.
fn not_a_gallery_name(_: &str) -> String {
    "Gallery name is invalid. Allowed characters are English alphanumeric characters, with underscores, and periods allowed \
     in the middle, up to 80 characters total. All other special characters, including dashes, are disallowed."
        .to_owned()
}

/// Returns Azure's sentence about the name of an entity in a gallery.
fn not_an_entity_name(name: &str) -> String {
    format!(
        r"The entity name '{}' is invalid according to its validation rule: ^[^_\W][\w-._]{{0,79}}(?<![-.])$.",
        name.escape_debug()
    )
}

const SUBSCRIPTION: Rule = Rule {
    field: "subscriptionId",
    max_len: 64,
    all_scripts: false,
    others: "-",
    ends: Ends::Any,
    sentence: None,
    words: "a subscription id has 1 to 64 letters, digits and `-`",
};

const RESOURCE_GROUP: Rule = Rule {
    field: "resourceGroupName",
    max_len: 90,
    all_scripts: true,
    others: "_-.()",
    ends: Ends::NoPeriodLast,
    sentence: None,
    words: "a resource group has 1 to 90 letters and digits of any script and `_-.()`, and does not end in a period",
};

const GALLERY: Rule = Rule {
    field: "gallery.name",
    max_len: 80,
    all_scripts: false,
    others: "_.",
    ends: Ends::LetterOrDigit,
    sentence: Some(not_a_gallery_name),
    words: "a gallery name has 1 to 80 letters, digits, `_` and `.` (no `-`), and a letter or digit at both ends",
};

const IMAGE: Rule = Rule {
    field: "galleryImage.name",
    max_len: 80,
    all_scripts: false,
    others: "_-.",
    ends: Ends::LetterOrDigit,
    sentence: Some(not_an_entity_name),
    words: "an image definition name has 1 to 80 letters, digits, `_`, `-` and `.`, and a letter or digit at both ends",
};

const RESOURCE: Rule = Rule {
    field: "name",
    max_len: 80,
    all_scripts: false,
    others: "_-.",
    ends: Ends::LetterOrDigitFirst,
    sentence: None,
    words: "it has 1 to 80 letters, digits, `_`, `-` and `.`, a letter or digit first, and a letter, a digit or `_` last",
};

text_newtype! {
    /// A subscription: 1 to 64 letters, digits and `-`. Azure's are UUIDs; a host may use other ids.
    ///
    /// ```
    /// use compute_gallery::model::SubscriptionId;
    ///
    /// assert_eq!("Dev-1".parse::<SubscriptionId>()?, "dev-1".parse()?);
    /// assert!("dev 1".parse::<SubscriptionId>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    SubscriptionId, caseless, |name| SUBSCRIPTION.check(name)
}

text_newtype! {
    /// A resource group: 1 to 90 letters and digits of any script and `_-.()`, not ending in a period (Azure: "Naming rules"). The case of
    /// ASCII letters does not count.
    ///
    /// ```
    /// use compute_gallery::model::ResourceGroupName;
    ///
    /// assert_eq!("Images(eu)".parse::<ResourceGroupName>()?.as_str(), "Images(eu)");
    /// assert!("größe".parse::<ResourceGroupName>().is_ok());
    /// assert!("images.".parse::<ResourceGroupName>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ResourceGroupName, caseless, |name| RESOURCE_GROUP.check(name)
}

text_newtype! {
    /// A gallery's name: 1 to 80 letters, digits, `_` and `.`, a letter or digit at both ends.
    ///
    /// Azure: the service's own rule; its published pattern would allow a hyphen too.
    ///
    /// ```
    /// use compute_gallery::model::GalleryName;
    ///
    /// assert_eq!("Contoso".parse::<GalleryName>()?, "CONTOSO".parse()?);
    /// let error = "my-gallery".parse::<GalleryName>().unwrap_err();
    /// assert!(error.to_string().contains("no `-`"));
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    GalleryName, caseless, |name| GALLERY.check(name)
}

text_newtype! {
    /// An image definition's name: 1 to 80 letters, digits, `_`, `-` and `.`, a letter or digit at both ends.
    ///
    /// ```
    /// use compute_gallery::model::ImageName;
    ///
    /// assert_eq!("Web-Frontend".parse::<ImageName>()?, "web-frontend".parse()?);
    /// // Azure has a code of its own for a wrong character at the end.
    /// assert_eq!("web-".parse::<ImageName>().unwrap_err().code(), "InvalidResourceName");
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ImageName, caseless, |name| IMAGE.check(name)
}

text_newtype! {
    /// The name of a managed image, a snapshot or a disk: 1 to 80 letters, digits, `_`, `-` and `.`, a letter or digit first, and a letter, a
    /// digit or `_` last (Azure: "Naming rules"). VMs and storage accounts are the host's, and held to the same rule.
    ///
    /// ```
    /// use compute_gallery::model::ResourceName;
    ///
    /// assert_eq!("Golden_".parse::<ResourceName>()?, "golden_".parse()?);
    /// assert!("golden-".parse::<ResourceName>().is_err());
    /// # Ok::<(), compute_gallery::Error>(())
    /// ```
    ResourceName, caseless, |name| RESOURCE.check(name)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lengths_and_ends_are_checked() {
        assert!("a".repeat(80).parse::<GalleryName>().is_ok());
        assert!("a".repeat(81).parse::<GalleryName>().is_err());
        for wrong in ["", ".a", "a_", "a b", "a-b", "ä", "a/b", "a\0"] {
            assert!(wrong.parse::<GalleryName>().is_err(), "{wrong:?}");
        }
        assert!("a-b".parse::<ImageName>().is_ok());
        assert!("group.".parse::<ResourceGroupName>().is_err());
        assert!("(group)".parse::<ResourceGroupName>().is_ok());
        assert!(
            "gruppe-ä1".parse::<ResourceGroupName>().is_ok() && "ä".repeat(90).parse::<ResourceGroupName>().is_ok()
        );
        for wrong in ["ä".repeat(91).as_str(), "a\u{200f}b", "a/b", "a b"] {
            assert!(wrong.parse::<ResourceGroupName>().is_err(), "{wrong:?}");
        }
        assert!("a_".parse::<ResourceName>().is_ok() && "a".repeat(80).parse::<ResourceName>().is_ok());
        for wrong in ["", "_a", "a.", "a-", "ä", "a/b", "a".repeat(81).as_str()] {
            assert!(wrong.parse::<ResourceName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn case_is_kept_and_does_not_count() {
        let (upper, lower): (ImageName, ImageName) = ("Web".parse().unwrap(), "web".parse().unwrap());
        assert_eq!(upper, lower);
        assert_eq!(upper.cmp(&lower), Ordering::Equal);
        assert_eq!(HashSet::from([upper.clone(), lower]).len(), 1);
        assert_eq!(upper.to_string(), "Web");
    }
}
