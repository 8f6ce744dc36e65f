//! The shapes of the bodies of the resources.

use super::shape::{Properties, Shape};
use Shape::{Date, List, Object, ReadOnly, Whole, Word};

/// The envelope of a resource, around its properties.
macro_rules! envelope {
    ($properties:expr) => {
        &[
            ("id", ReadOnly),
            ("name", ReadOnly),
            ("type", ReadOnly),
            ("systemData", ReadOnly),
            ("location", Whole),
            ("tags", Whole),
            ("properties", Object($properties)),
        ]
    };
}

pub(super) const GALLERY: Properties = envelope!(&[
    ("description", Whole),
    ("identifier", Object(&[("uniqueName", ReadOnly)])),
    ("provisioningState", ReadOnly),
    ("sharingStatus", ReadOnly),
    (
        "sharingProfile",
        Object(&[
            ("permissions", Word(&["Private", "Groups", "Community"])),
            ("groups", ReadOnly),
            (
                "communityGalleryInfo",
                Object(&[
                    ("publisherUri", Whole),
                    ("publisherContact", Whole),
                    ("eula", Whole),
                    ("publicNamePrefix", Whole),
                    ("communityGalleryEnabled", ReadOnly),
                    ("publicNames", ReadOnly),
                ]),
            ),
        ]),
    ),
    (
        "softDeletePolicy",
        Object(&[("isSoftDeleteEnabled", Whole), ("retentionPeriodInDays", Whole), ("gracePeriodInDays", Whole)])
    ),
]);

pub(super) const IMAGE_DEFINITION: Properties = envelope!(&[
    ("osType", Word(&["Windows", "Linux"])),
    ("osState", Word(&["Generalized", "Specialized"])),
    ("hyperVGeneration", Word(&["V1", "V2"])),
    ("architecture", Word(&["x64", "Arm64"])),
    ("identifier", Object(&[("publisher", Whole), ("offer", Whole), ("sku", Whole)])),
    ("description", Whole),
    ("eula", Whole),
    ("privacyStatementUri", Whole),
    ("releaseNoteUri", Whole),
    ("endOfLifeDate", Date),
    (
        "recommended",
        Object(&[
            ("vCPUs", Object(&[("min", Whole), ("max", Whole)])),
            ("memory", Object(&[("min", Whole), ("max", Whole)])),
        ]),
    ),
    ("disallowed", Object(&[("diskTypes", Whole)])),
    ("purchasePlan", Object(&[("name", Whole), ("publisher", Whole), ("product", Whole)])),
    ("features", List("name", &[("name", Whole), ("value", Whole), ("startsAtVersion", Whole)])),
    ("allowUpdateImage", ReadOnly),
    ("provisioningState", ReadOnly),
]);

pub(super) const RESOURCE_GROUP: Properties = envelope!(&[("provisioningState", ReadOnly)]);

const OS_TYPE: Shape = Word(&["Windows", "Linux"]);

const GENERATION: Shape = Word(&["V1", "V2"]);

/// Of a source by name the words alone are read that a version is compared with.
pub(super) const NAMED_SOURCE: Properties = envelope!(&[
    ("osType", OS_TYPE),
    ("hyperVGeneration", GENERATION),
    ("provisioningState", ReadOnly),
    ("timeCreated", ReadOnly),
    ("diskState", ReadOnly),
    ("uniqueId", ReadOnly),
    (
        "storageProfile",
        Object(&[("osDisk", Object(&[("osType", OS_TYPE), ("osState", Word(&["Generalized", "Specialized"]))]))]),
    ),
]);

const STORAGE_ACCOUNT_TYPE: Shape = Word(&["Standard_LRS", "Standard_ZRS", "Premium_LRS"]);

const HOST_CACHING: Shape = Word(&["None", "ReadOnly", "ReadWrite"]);

const SOURCE: Shape = Object(&[
    ("id", Whole),
    ("virtualMachineId", Whole),
    ("communityGalleryImageId", Whole),
    ("uri", Whole),
    ("storageAccountId", Whole),
]);

pub(super) const IMAGE_VERSION: Properties = envelope!(&[
    (
        "publishingProfile",
        Object(&[
            (
                "targetRegions",
                List(
                    "name",
                    &[
                        ("name", Whole),
                        ("regionalReplicaCount", Whole),
                        ("storageAccountType", STORAGE_ACCOUNT_TYPE),
                        ("excludeFromLatest", Whole),
                        (
                            "encryption",
                            Object(&[
                                ("osDiskImage", Object(&[("diskEncryptionSetId", Whole)])),
                                ("dataDiskImages", List("lun", &[("lun", Whole), ("diskEncryptionSetId", Whole)])),
                            ]),
                        ),
                    ],
                ),
            ),
            ("replicaCount", Whole),
            ("excludeFromLatest", Whole),
            ("storageAccountType", STORAGE_ACCOUNT_TYPE),
            ("replicationMode", Word(&["Full", "Shallow"])),
            ("endOfLifeDate", Date),
            ("publishedDate", ReadOnly),
        ]),
    ),
    (
        "storageProfile",
        Object(&[
            ("source", SOURCE),
            (
                "osDiskImage",
                Object(&[
                    ("source", SOURCE),
                    ("hostCaching", HOST_CACHING),
                    ("sizeInGB", ReadOnly),
                    ("sizeInBytes", ReadOnly),
                ]),
            ),
            (
                "dataDiskImages",
                List(
                    "lun",
                    &[
                        ("lun", Whole),
                        ("source", SOURCE),
                        ("hostCaching", HOST_CACHING),
                        ("sizeInGB", ReadOnly),
                        ("sizeInBytes", ReadOnly),
                    ],
                ),
            ),
        ]),
    ),
    (
        "safetyProfile",
        Object(&[
            ("allowDeletionOfReplicatedLocations", Whole),
            ("blockDeletionBeforeEndOfLife", Whole),
            ("reportedForPolicyViolation", ReadOnly),
            ("policyViolations", ReadOnly),
        ]),
    ),
    (
        "securityProfile",
        Object(&[(
            "uefiSettings",
            Object(&[
                ("signatureTemplateNames", Whole),
                ("additionalSignatures", Object(&[("pk", Whole), ("kek", Whole), ("db", Whole), ("dbx", Whole)]),),
            ]),
        )]),
    ),
    ("restore", ReadOnly),
    ("replicationStatus", ReadOnly),
    ("validationsProfile", ReadOnly),
    ("imageMetadataProfiles", ReadOnly),
    ("provisioningState", ReadOnly),
]);
