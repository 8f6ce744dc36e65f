#!/usr/bin/env bash
# Azure's own validator (oav, from npm) on the requests of the official examples and what this gallery answers to them.
#
#   tests/azure/oav.sh SPECS
#
# SPECS has a folder for each of 2018-06-01, 2019-03-01 and 2023-07-03 with the swagger files and their `examples`, and `common-types`: as in
# `specification/compute/resource-manager/Microsoft.Compute` of Azure's repository of specifications. It prints what is not valid.
set -euo pipefail
cd "$(dirname "$0")/../.."
specs=$1
home=${CLIENTS:-target/clients}/oav
mkdir -p "$home"
home=$(cd "$home" && pwd)
[ -x "$home/node_modules/.bin/oav" ] || (cd "$home" && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund oav@4.0.3)

# The swagger files refer to `../../../common-types`.
rm -rf "$home/specs" "$home/traffic"
mkdir -p "$home/specs/GalleryRP/stable" "$home/traffic"
cp -r "$specs/common-types" "$home/specs"
for version in 2018-06-01 2019-03-01 2023-07-03; do cp -r "$specs/$version" "$home/specs/GalleryRP/stable"; done

# shellcheck disable=SC2086
TRAFFIC=$home/traffic cargo test --locked ${FEATURES:---features arm,testkit} --test arm_schema -- --ignored --exact traffic_for_azures_validator

for version in 2018-06-01 2019-03-01 2023-07-03; do
  # The validator fails after its report, for want of a template that its package lacks.
  (cd "$home" && node_modules/.bin/oav validate-traffic "traffic/$version" "specs/GalleryRP/stable/$version" -l error \
    --jsonReport "$home/$version.json" >"$home/$version.log" 2>&1) || true
  [ -s "$home/$version.json" ] || { cat "$home/$version.log"; exit 1; }
done
python3 tests/azure/oav_report.py "$home"
