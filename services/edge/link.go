package edge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headwater/services/internal/process"
	"headwater/services/internal/uplink"
)

// FileName is the name of the file in the data folder that remembers the centre.
const FileName = "edge.json"

// Link is the centre that this Headwater belongs to, and how it shows who it is.
type Link struct {
	// Invitation is that of the line. Its secret is empty once it was used.
	uplink.Invitation
	// Line is the SHA-256 of the line, in hexadecimal digits.
	Line string `json:"line"`
	// Token is the edge's own. It is on the disk before the centre knows it.
	Token string `json:"token"`
	// Certificate is that of the centre's own authority in PEM, once it was fetched.
	Certificate string `json:"certificate,omitempty"`

	path string
}

// Open returns the link that a data folder remembers, or nil if it is not that of an edge.
// A line, or the name of a file that holds one after @, makes it one, or the edge of another
// centre. The same line as before changes nothing.
func Open(folder, line string) (*Link, error) {
	known, err := readLink(filepath.Join(folder, FileName))
	if err != nil {
		return nil, fmt.Errorf("what the data folder remembers of the centre: %w", err)
	}
	if file, ok := strings.CutPrefix(line, "@"); ok {
		if line, err = process.ReadSecret(file); err != nil {
			return nil, fmt.Errorf("--join: %w", err)
		}
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(line)))
	hash := hex.EncodeToString(sum[:])
	if line == "" || known != nil && known.Line == hash {
		return known, nil
	}
	to, err := uplink.ParseLine(line)
	if err != nil {
		return nil, fmt.Errorf("--join: %w", err)
	}
	l := &Link{Invitation: to, Line: hash, Token: rand.Text(), path: filepath.Join(folder, FileName)}
	return l, l.save()
}

func readLink(path string) (*Link, error) {
	text, err := process.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &Link{path: path}
	if err := json.Unmarshal([]byte(text), l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, l.Validate()
}

// save writes the file. After a power cut it is there as a whole or as it was before.
func (l *Link) save() error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("remember the centre: %w", err)
	}
	unfinished := l.path + ".new"
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("remember the centre: %w", err)
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(unfinished, l.path)
	}
	if err != nil {
		return fmt.Errorf("remember the centre: %w", err)
	}
	return nil
}
