package config_test

import (
	"cmp"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// kubectl stands in for kubectl: a file in $SECRETS is a Secret in the cluster.
const kubectl = `#!/bin/sh
set -eu
case "$*" in
"--namespace soundstrip get secret "*) test -e "$SECRETS/$5" ;;
"--namespace soundstrip create secret generic "*" --from-env-file=/dev/stdin") cat >"$SECRETS/$6" ;;
"--namespace soundstrip create secret generic "*" --from-file=private-key=/dev/stdin")
  sed ':a;N;$!ba;s/\n/\\n/g;s/^/private-key=/' >"$SECRETS/$6" ;;
*) echo "kubectl $*: not expected" >&2; exit 2 ;;
esac
`

// makeSecrets runs the script of make secrets and gives what is in the cluster then: keys and values by Secret.
func makeSecrets(t *testing.T, cluster string) map[string]map[string]string {
	t.Helper()
	bin := t.TempDir()
	// By a process of its own: what another test starts meanwhile would have our file open, and so nobody could run it.
	write := exec.CommandContext(t.Context(), "sh", "-c", "cat >kubectl && chmod +x kubectl")
	write.Dir, write.Stdin = bin, strings.NewReader(kubectl)
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("write kubectl: %v\n%s", err, out)
	}
	script := exec.CommandContext(t.Context(), "./secrets")
	script.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "SECRETS=" + cluster}
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("secrets: %v\n%s", err, out)
	}
	files, err := os.ReadDir(cluster)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(cluster, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		made[f.Name()] = map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			made[f.Name()][key] = value
		}
	}
	return made
}

func TestSecretsAreMadeOnce(t *testing.T) {
	t.Parallel()
	cluster := t.TempDir()
	if err := os.WriteFile(filepath.Join(cluster, "mysql"), []byte("username=me\npassword=mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := makeSecrets(t, cluster)
	if diff := gocmp.Diff(map[string]string{"username": "me", "password": "mine"}, first["mysql"]); diff != "" {
		t.Errorf("a Secret that was there changed (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(first, makeSecrets(t, cluster)); diff != "" {
		t.Errorf("secrets made again (-first +second):\n%s", diff)
	}
	if other := makeSecrets(t, t.TempDir()); other["token-key"]["private-key"] == first["token-key"]["private-key"] {
		t.Error("two clusters have the same key of tokens")
	}
	block, _ := pem.Decode([]byte(strings.ReplaceAll(first["token-key"]["private-key"], `\n`, "\n")))
	if block == nil {
		t.Fatal("the key of tokens is no PEM")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Error(err)
	} else if _, ok := key.(ed25519.PrivateKey); !ok {
		t.Errorf("the key of tokens is a %T, want Ed25519", key)
	}
}

func TestSecretsAreThoseThatPodsName(t *testing.T) {
	t.Parallel()
	made := makeSecrets(t, t.TempDir())
	for _, p := range load(t).pods() {
		for _, c := range p.spec.Containers {
			for _, v := range c.Env {
				if v.ValueFrom == nil || v.ValueFrom.SecretKeyRef == nil {
					continue
				}
				ref := v.ValueFrom.SecretKeyRef
				value := made[ref.Name][ref.Key]
				if value == "" && !ptr.Deref(ref.Optional, false) {
					t.Errorf("%s of %s is %s in the Secret %s, which make secrets does not make", v.Name, p.name, ref.Key, ref.Name)
				}
				if strings.HasSuffix(v.Name, "_SECRET") && value != "" && len(value) < 32 {
					t.Errorf("%s has %d bytes, want 32 at least", v.Name, len(value))
				}
			}
		}
	}
}

// TestUsersOfMongoDB gives each function a user of its own, whose password no other one has.
func TestUsersOfMongoDB(t *testing.T) {
	t.Parallel()
	objects := load(t)
	var users map[string]map[string]string
	text := find[*corev1.ConfigMap](t, objects, "mongodb-users").Data["roles.json"]
	if err := json.Unmarshal([]byte(text), &users); err != nil {
		t.Fatal(err)
	}
	of := map[string]string{"forget": "sweep"}
	for _, p := range objects.pods() {
		for _, c := range p.spec.Containers {
			given := objects.variables(t, c)
			if _, ok := given["MONGODB_URI"]; !ok {
				continue
			}
			user := given["MONGODB_USER"]
			if user != cmp.Or(of[p.name], p.name) || users[user] == nil {
				t.Errorf("%s logs in as %q, who has the rights %v", p.name, user, users[user])
			}
			for _, v := range c.Env {
				if v.Name == "MONGODB_PASSWORD" && v.ValueFrom.SecretKeyRef.Key != user+"-password" {
					t.Errorf("%s has %s", p.name, v.ValueFrom.SecretKeyRef.Key)
				}
			}
		}
	}
	server := objects.variables(t, find[*appsv1.StatefulSet](t, objects, "mongodb").Spec.Template.Spec.Containers[0])
	for user := range users {
		if _, ok := server["PASSWORD_"+user]; !ok {
			t.Errorf("the server is not told the password of %s", user)
		}
	}
}

// TestOnlyLoginSigns has no other function have what tokens are signed with.
func TestOnlyLoginSigns(t *testing.T) {
	t.Parallel()
	objects := load(t)
	for _, p := range objects.pods() {
		for _, c := range p.spec.Containers {
			given := objects.variables(t, c)
			_, private := given["JWT_PRIVATE_KEY"]
			_, secret := given["JWT_SECRET"]
			if secret || private != (p.name == "login") {
				t.Errorf("%s has JWT_PRIVATE_KEY: %v, JWT_SECRET: %v, want login alone to have the key", p.name, private, secret)
			}
		}
	}
}
