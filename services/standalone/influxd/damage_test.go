package influxd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/services/standalone/influxd"
)

// TestDamagedListOfDatabases starts on a list of databases that can't be read:
// the start ends with what people can do. What they do helps.
func TestDamagedListOfDatabases(t *testing.T) {
	for name, content := range map[string]string{
		"rubbish": strings.Repeat("\xff\x00rubbish", 20), "text": "not a database", "cut": "\x08",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "influxdb")
			s, err := influxd.Start(influxd.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "meta", "meta.db"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = influxd.Start(influxd.Config{Dir: dir})
			if err == nil {
				t.Fatal("it runs, without its databases", s.Close())
			}
			for _, want := range []string{"meta.db", "backup", "move it away"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no word of %q in: %v", want, err)
				}
			}
			if err := os.Rename(dir, dir+"-damaged"); err != nil {
				t.Fatal(err)
			}
			if s, err = influxd.Start(influxd.Config{Dir: dir}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
