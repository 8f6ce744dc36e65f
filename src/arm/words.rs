//! Words of properties that the model does not have: as Azure spells them, in whatever case they came.

use serde_json::Value;

/// The name of a property, and its words.
const WORDS: &[(&str, &[&str])] = &[
    ("storageAccountType", &["Standard_LRS", "Standard_ZRS", "StandardSSD_LRS", "Premium_LRS", "PremiumV2_LRS"]),
    ("storageAccountStrategy", &["PreferStandard_ZRS", "DefaultStandard_LRS"]),
    (
        "confidentialVMEncryptionType",
        &[
            "EncryptedVMGuestStateOnlyWithPmk",
            "EncryptedWithPmk",
            "EncryptedWithCmk",
            "NonPersistedTPM",
            "DataDiskEncryptedWithCmk",
        ],
    ),
    ("type", &["EdgeZone", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None"]),
];

/// Spells the words of a body.
pub(super) fn spell(body: &mut Value) {
    match body {
        Value::Array(items) => items.iter_mut().for_each(spell),
        Value::Object(fields) => {
            for (name, value) in fields {
                // Tags are their owner's words.
                if name == "tags" {
                    continue;
                }
                let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
                match (known, &mut *value) {
                    (Some((_, words)), Value::String(given)) => {
                        if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(given)) {
                            *given = (*word).to_owned();
                        }
                    }
                    (_, below) => spell(below),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_spelled_as_azure_does_and_tags_are_left_alone() {
        let mut body =
            json!({"tags": {"type": "edgezone"}, "a": [{"storageAccountType": "standardssd_lrs", "type": "edgezone"}]});
        spell(&mut body);
        let spelled = json!([{"storageAccountType": "StandardSSD_LRS", "type": "EdgeZone"}]);
        assert_eq!(body, json!({"tags": {"type": "edgezone"}, "a": spelled}));
    }
}
