package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/streams"
	"headwater/streams/natsd"
)

// TestSecretsFitTheConfigurationOfNATS has the variables that the configuration
// file of nats-server wants, and a file for each password.
func TestSecretsFitTheConfigurationOfNATS(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "secrets")
	secrets := func() result {
		var out, errs bytes.Buffer
		code := run(t.Context(), environment{out: &out, err: &errs}, []string{"secrets", folder})
		return result{code, out.String(), errs.String()}
	}
	secrets().want(t, exitDone, "secrets made")
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	environment := read("nats.env")
	for _, user := range natsd.Users() {
		name := strings.TrimPrefix(string(user), streams.UserPrefix)
		if want := natsd.EnvPassword(user) + "=" + read(name); !strings.Contains(environment, want+"\n") {
			t.Errorf("the environment has no %s", natsd.EnvPassword(user))
		}
	}
	if read("routes") == "" {
		t.Error("there is no password for the routes of a cluster")
	}
	if !strings.Contains(environment, natsd.EnvIssuer+"=A") || !strings.HasPrefix(read("issuer-seed"), "SA") {
		t.Error("there is no pair of keys for log-ins")
	}

	before := environment
	secrets().want(t, exitDone, "0 secrets made")
	if read("nats.env") != before {
		t.Error("secrets that were there have changed")
	}
	left, err := fs.Glob(os.DirFS(folder), "*.new")
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
