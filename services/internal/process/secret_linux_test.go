package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSecretThatOthersMayRead(t *testing.T) {
	for _, test := range []struct {
		mode    os.FileMode
		owner   int // 0 is the user of the test
		refused bool
	}{
		{mode: 0o600},
		{mode: 0o400},
		{mode: 0o700},
		{mode: 0o610},
		{mode: 0o644, refused: true},
		{mode: 0o640, refused: true},
		{mode: 0o604, refused: true},
		{mode: 0o444, refused: true},
		{mode: 0o620, refused: true},
		{mode: 0o640, owner: 65534},
		{mode: 0o644, owner: 65534, refused: true},
	} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte(" s3cret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if test.owner != 0 {
			if err := os.Chown(path, test.owner, -1); err != nil {
				t.Logf("mode %04o of another user is not tried: %v", test.mode, err)
				continue
			}
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		text, err := ReadSecret(path)
		if test.refused {
			if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("mode %04o, owner %d: %v", test.mode, test.owner, err)
			}
		} else if err != nil || text != "s3cret" {
			t.Errorf("mode %04o, owner %d: %q, %v", test.mode, test.owner, text, err)
		}
	}
}

// TestSecretOfAContainer has a file as Docker and Kubernetes mount it: everybody
// may read it, and the mount is read-only.
func TestSecretOfAContainer(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a mount needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "password")
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSecret(path); err == nil {
		t.Error("a file that everybody may read is taken while the mount can be written to")
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadSecret(path); err != nil || text != "s3cret" {
		t.Errorf("%q, %v", text, err)
	}
}
