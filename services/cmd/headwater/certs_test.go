package main

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headwater/services/internal/certs"
)

func TestCerts(t *testing.T) {
	data, out := t.TempDir(), t.TempDir()
	try := func(args ...string) (code int, stdout, stderr string) {
		var o, e bytes.Buffer
		code = run(t.Context(), environment{out: &o, err: &e, in: strings.NewReader("")}, append([]string{"certs"}, args...))
		return code, o.String(), e.String()
	}
	if code, _, stderr := try("show", "--data", data); code != exitFailed || !strings.Contains(stderr, "--tls auto") {
		t.Errorf("without an authority: %d %s", code, stderr)
	}
	authority, err := certs.EnsureAuthority(data, certs.Names{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs.EnsureDeviceAuthority(data, time.Now()); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := try("show", "--data", data); code != exitDone || !strings.Contains(stdout, certs.Fingerprint(authority.Certificate())) || !strings.Contains(stdout, "192.168.0.0/16") {
		t.Errorf("show: %d %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := try("export", "--data", data); code != exitDone || stdout != string(authority.PEM) {
		t.Errorf("export: %d %s", code, stdout)
	}
	if code, _, stderr := try("client", "hall/door-01", "--data", data, "--out", out); code != exitDone {
		t.Fatalf("client: %d %s", code, stderr)
	}
	crt, key := filepath.Join(out, "hall-door-01.crt"), filepath.Join(out, "hall-door-01.key")
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	if got := certs.Describe(pair.Leaf); got != "headwater:device:hall/door-01" {
		t.Errorf("it is for %s", got)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v %v", info, err)
	}
	if code, _, stderr := try("client", "hall/door-01", "--data", data, "--out", out); code != exitFailed || !strings.Contains(stderr, "exists") {
		t.Errorf("a second time: %d %s", code, stderr)
	}
	for _, wrong := range [][]string{{"hall"}, {"hall/door/x"}, {"hall/door-02", "--days", "0"}} {
		if code, _, _ := try(append([]string{"client", "--data", data, "--out", out}, wrong...)...); code == exitDone {
			t.Errorf("%q was accepted", wrong)
		}
	}
}
