//go:build linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/streams/streamtest"
)

// failing runs a standalone as a process of its own on the folder, and calls during while
// it runs. It returns the exit code and the output.
func failing(t *testing.T, dir string, during func(*exec.Cmd)) (code int, log string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childFolder+"="+dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(streamtest.Patience, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	during(cmd)
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// TestStartOnAReadOnlyFolder starts on a read-only disk. The start fails by itself with
// the cause, long before nats-server gives up.
func TestStartOnAReadOnlyFolder(t *testing.T) {
	dir := smallDisk(t, 8)
	// The file exists, as after an earlier run.
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	code, log := failing(t, dir, func(*exec.Cmd) {})
	if code != 1 || !strings.Contains(log, "read-only file system") || !strings.Contains(log, "--data") {
		t.Errorf("it ended with %d and wrote:\n%s", code, log)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestStartOnADamagedFolder has a file where nats-server needs a folder.
func TestStartOnADamagedFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nats", "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	code, log := failing(t, dir, func(*exec.Cmd) {})
	if code != 1 || !strings.Contains(log, "JetStream") {
		t.Errorf("it ended with %d and wrote:\n%s", code, log)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestStopDuringTheStart stops a process while nats-server reads its streams. Reading
// takes forever here, because a pipe without a writer is in the place of a file.
func TestStopDuringTheStart(t *testing.T) {
	dir := t.TempDir()
	stream := filepath.Join(dir, "nats", "jetstream", "CORE", "streams", "TELEMETRY")
	if err := os.MkdirAll(stream, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"meta.inf", "meta.sum"} {
		if err := syscall.Mkfifo(filepath.Join(stream, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var told time.Time
	_, log := failing(t, dir, func(cmd *exec.Cmd) {
		pipe, err := os.OpenFile(filepath.Join(stream, "meta.inf"), os.O_WRONLY, 0) // returns once it is being read
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pipe.Close() })
		told = time.Now()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	if took := time.Since(told); took > time.Minute {
		t.Errorf("it took %s to stop", took)
	}
	if !strings.Contains(log, "context canceled") {
		t.Errorf("it wrote:\n%s", log)
	}
}
