//go:build unix

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOpenFolderIsShut opens data folders that other users may read.
func TestOpenFolderIsShut(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   os.FileMode
		files  []string
		want   os.FileMode
		logged string
	}{
		{name: "its own", mode: 0o755, files: []string{"nats", "influxdb", "lock", "demo"}, want: 0o700, logged: "now they can't"},
		{name: "new", mode: 0o777, want: 0o700, logged: "now they can't"},
		{name: "closed", mode: 0o700, want: 0o700},
		{name: "narrower", mode: 0o500 | 0o200, want: 0o700},
		{name: "with files of others", mode: 0o755, files: []string{"photos"}, want: 0o755, logged: "chmod 700"},
		{name: "shared", mode: 0o777 | os.ModeSticky, want: 0o777 | os.ModeSticky, logged: "chmod 700"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range test.files {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, test.mode); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			f, err := openFolder(dir, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode() &^ os.ModeDir; got != test.want {
				t.Errorf("the folder is %v, want %v", got, test.want)
			}
			if (test.logged == "") != (log.Len() == 0) || !strings.Contains(log.String(), test.logged) {
				t.Errorf("the log says %q, want %q", log.String(), test.logged)
			}
		})
	}
}
