package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/shirou/gopsutil/v4/disk"

	"headwater/services/edge"
	"headwater/services/internal/certs"
	"headwater/services/internal/process"
	"headwater/services/internal/uplink"
)

// folder is the data folder while this process owns it.
type folder struct {
	path string
	lock *flock.Flock
	// strict is set for a folder that was new when this version, or a later one, first
	// started with it.
	strict bool
}

// openFolder creates the folder if necessary and locks it for this process. It closes
// the folder to other users, or logs why it does not.
func openFolder(path string, log *slog.Logger) (*folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the data folder can't be created (--data names another): %w", err)
	}
	// Ask for write access even if the file exists: on a read-only disk the start ends
	// here.
	lock := flock.New(filepath.Join(path, lockName), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	taken, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("the data folder can't be written to (--data names another): %w", err)
	}
	if !taken {
		return nil, fmt.Errorf("the data folder %s is in use by another Headwater: stop that one, or name another folder with --data", path)
	}
	f := &folder{path: path, lock: lock}
	err = f.shut(log)
	if err == nil {
		f.strict, err = f.isStrict()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at the data folder: %w", err), f.close())
	}
	return f, nil
}

// strictName is the name of the file that tells a folder of an earlier version, whose
// installation keeps running after an upgrade, from one that began with modes.
const strictName = "strict"

// isStrict reports whether an unsafe start is refused by default. A folder without
// streams is new, and strict from now on.
func (f *folder) isStrict() (bool, error) {
	mark := filepath.Join(f.path, strictName)
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		return err == nil, err
	}
	if _, err := os.Stat(f.nats()); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, os.WriteFile(mark, []byte("Without --mode dev, Headwater does not start unsafely with this folder.\n"), 0o600)
}

// lockName is the name of the lock file.
const lockName = "lock"

// shut closes the folder to other users if it contains nothing but files of Headwater.
// A folder that others share, such as /tmp, is only reported.
func (f *folder) shut(log *slog.Logger) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return err
	}
	own := process.Mine(info) && info.Mode()&fs.ModeSticky == 0 && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !slices.Contains([]string{lockName, "nats", "influxdb", influxTokenFile, demoName, strictName, certs.Folder, edge.FileName, "lost+found"}, e.Name())
	})
	if own {
		err = os.Chmod(f.path, 0o700)
		if err == nil {
			log.Warn("other users could read the data folder; now they can't", "folder", f.path, "mode", info.Mode().Perm().String())
			return nil
		}
	}
	log.Warn("other users may read the data folder: give Headwater one of its own, or chmod 700", "folder", f.path, "mode", info.Mode().Perm().String())
	return nil
}

func (f *folder) close() error { return f.lock.Close() }

// influxToken returns the token of the embedded InfluxDB. It is created once and kept in
// the folder, so the owner of the folder can query InfluxDB too.
func (f *folder) influxToken() (string, error) {
	path := filepath.Join(f.path, influxTokenFile)
	token, err := process.ReadSecret(path)
	if err == nil && token != "" || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	token = rand.Text()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the token of InfluxDB: %w", err)
	}
	return token, nil
}

// influxTokenFile is the name of the file in the data folder that holds the token.
const influxTokenFile = "influxdb-token"

func (f *folder) nats() string   { return filepath.Join(f.path, "nats") }
func (f *folder) influx() string { return filepath.Join(f.path, "influxdb") }

// diskBytes returns the size of the disk that the folder is on.
func (f *folder) diskBytes() (uint64, error) {
	usage, err := f.usage()
	return usage.Total, err
}

// freeBytes returns how much of that disk is free.
func (f *folder) freeBytes() (uint64, error) {
	usage, err := f.usage()
	return usage.Free, err
}

// room returns the room on that disk.
func (f *folder) room() (uplink.Disk, error) {
	usage, err := f.usage()
	return uplink.Disk{Free: usage.Free, Total: usage.Total}, err
}

func (f *folder) usage() (disk.UsageStat, error) {
	usage, err := disk.Usage(f.path)
	if err != nil {
		return disk.UsageStat{}, fmt.Errorf("read the usage of the disk of %s: %w", f.path, err)
	}
	return *usage, nil
}

// demoMark is the path of a file that exists while the demo runs on the folder.
func (f *folder) demoMark() string { return filepath.Join(f.path, demoName) }

const demoName = "demo"

// demoState is what the data folder remembers of the demo.
type demoState struct {
	Note string `json:"note"`
	// Began is when the demo began that has a past; zero if it has none, as those of
	// earlier versions.
	Began time.Time `json:"began,omitzero"`
	// Filled reports whether the past is stored.
	Filled bool `json:"filled,omitempty"`
}

// demo returns what the folder remembers of the demo; nil if there is none.
func (f *folder) demo() (*demoState, error) {
	body, err := os.ReadFile(f.demoMark())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := new(demoState)
	if !json.Valid(body) { // a text, from an earlier version
		return s, nil
	}
	return s, json.Unmarshal(body, s)
}

// setDemo remembers the demo; nil forgets it.
func (f *folder) setDemo(s *demoState) error {
	if s == nil {
		err := os.Remove(f.demoMark())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	s.Note = "The demo's devices are of the site demo; --no-demo removes them."
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(f.demoMark(), append(body, '\n'), 0o600)
}

// syncTree forces the folder to the disk, with all files and folders below it. Without
// it, a stream that was just created is lost as a whole when the power fails before its
// folder is on the disk.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFolder(path)
	})
}

// syncFolder forces one file, or the names in one folder, to the disk.
func syncFolder(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
