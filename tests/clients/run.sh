#!/usr/bin/env bash
# Real clients against the example server: each is installed from its registry and goes through a whole life of a gallery.
#
#   tests/clients/run.sh [python] [python_old] [tenants] [js] [az] [go] [ansible]
#
# All but Ansible (ten minutes to install) and Go without an argument; `python` takes half a minute. Go needs Debian's packages `golang-go` and
# `golang-github-azure-azure-sdk-for-go-dev`.
set -euo pipefail
cd "$(dirname "$0")/../.."

home=${CLIENTS:-target/clients}
mkdir -p "$home"
home=$(cd "$home" && pwd)
[ $# -gt 0 ] || set -- python python_old tenants js az

# CI has built it with more features.
# shellcheck disable=SC2086
[ -n "${SERVER-}" ] || cargo build --locked ${FEATURES:---features serve} --example azure_gallery
port=${PORT:-28080}
server=${SERVER:-${CARGO_TARGET_DIR:-target}/debug/examples/azure_gallery}
servers=()
trap 'kill "${servers[@]}"' EXIT

# Starts a server on a port and the two after it, with further arguments, and waits for it.
serve() {
  local port=$1 log=$home/server$1.log
  shift
  : >"$log"
  "$server" --http "127.0.0.1:$port" --https "127.0.0.1:$((port + 1))" --proxy "127.0.0.1:$((port + 2))" \
    --named-sources 30GiB "$@" >"$log" &
  servers+=($!)
  for _ in $(seq 100); do grep -q '^ready$' "$log" && break; sleep 0.1; done
  grep -q '^ready$' "$log"
}
serve "$port" --ca "$home/ca.pem" --test-endpoints ${INSTANT:+--instant}

# A virtual environment with these packages.
venv() {
  local at=$home/$1
  shift
  [ -x "$at/bin/python" ] || python3 -m venv "$at"
  "$at/bin/pip" install --quiet --disable-pip-version-check "$@"
}

for client in "$@"; do
  echo "== $client"
  case $client in
    python)
      venv python azure-mgmt-compute==39.0.0
      "$home/python/bin/python" tests/clients/python_sdk.py "http://127.0.0.1:$port"
      "$home/python/bin/python" tests/clients/page.py docs/azure-clients.md "http://127.0.0.1:$port"
      ;;
    python_old)
      venv python_old azure-mgmt-compute==23.1.0 six
      "$home/python_old/bin/python" tests/clients/python_old_sdk.py "http://127.0.0.1:$port"
      ;;
    tenants)
      # Two tenants need a server that knows them.
      venv python azure-mgmt-compute==39.0.0 azure-identity requests
      serve $((port + 10)) --ca "$home/tenants.pem" --directory tests/clients/tenants.json
      HTTPS_PROXY=http://127.0.0.1:$((port + 12)) REQUESTS_CA_BUNDLE=$home/tenants.pem \
        "$home/python/bin/python" tests/clients/tenants.py
      ;;
    js)
      mkdir -p "$home/js"
      cp tests/clients/js_sdk.mjs "$home/js"
      (cd "$home/js" && { [ -e package.json ] || npm init --yes >/dev/null; } && npm install --silent @azure/arm-compute@24 &&
        NODE_EXTRA_CA_CERTS=$home/ca.pem node js_sdk.mjs "https://127.0.0.1:$((port + 1))")
      ;;
    az)
      venv az azure-cli==2.91.0
      tests/clients/az.sh "$home/az/bin/az" "http://127.0.0.1:$((port + 2))" "$home/ca.pem"
      ;;
    go)
      GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$home/go go build -o "$home/go_sdk" tests/clients/go/main.go
      SSL_CERT_FILE=$home/ca.pem "$home/go_sdk" "https://127.0.0.1:$((port + 1))"
      ;;
    ansible)
      venv ansible ansible==12.3.0
      venv ansible -r "$home"/ansible/lib/python3*/site-packages/ansible_collections/azure/azcollection/requirements.txt
      HTTPS_PROXY=http://127.0.0.1:$((port + 2)) REQUESTS_CA_BUNDLE=$home/ca.pem AZURE_CLIENT_ID=x AZURE_SECRET=x \
        AZURE_TENANT=11111111-1111-1111-1111-111111111111 AZURE_SUBSCRIPTION_ID=00000000-0000-0000-0000-000000000005 \
        "$home/ansible/bin/ansible-playbook" -i localhost, -c local \
        -e "ansible_python_interpreter=$home/ansible/bin/python" tests/clients/ansible.yml
      ;;
    *) echo "unknown client: $client" && exit 1 ;;
  esac
done
