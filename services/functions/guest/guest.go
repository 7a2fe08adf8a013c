// Package guest makes the folders of new functions and builds them with Go.
package guest

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed files
var files embed.FS

// common is what every function in Go needs, example a batch to test it with.
const (
	common  = "headwater.go.txt"
	example = "example.json.txt"
)

// Inputs is the folder of the batches that a function is tested with.
const Inputs = "testdata"

// Templates are the names of the templates.
func Templates() []string {
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		return nil // it is embedded
	}
	var names []string
	for _, e := range entries {
		if e.Name() != common && e.Name() != example {
			names = append(names, strings.TrimSuffix(e.Name(), ".go.txt"))
		}
	}
	return names
}

// New writes the files of a new function in Go into a folder, which must not have them.
func New(folder, name, template string) error {
	if !slices.Contains(Templates(), template) {
		return fmt.Errorf("there is no template %q, but %s", template, strings.Join(Templates(), ", "))
	}
	if err := os.MkdirAll(filepath.Join(folder, Inputs), 0o755); err != nil {
		return fmt.Errorf("make the folder of a function: %w", err)
	}
	texts := map[string][]byte{"go.mod": []byte("module " + strings.ToLower(name) + "\n\ngo 1.24\n")}
	for file, from := range map[string]string{"headwater.go": common, "main.go": template + ".go.txt", filepath.Join(Inputs, "example.json"): example} {
		text, err := files.ReadFile("files/" + from)
		if err != nil {
			return fmt.Errorf("read a template: %w", err)
		}
		texts[file] = text
	}
	for file, text := range texts {
		f, err := os.OpenFile(filepath.Join(folder, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			_, err = f.Write(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("write a file of the function: %w", err)
		}
	}
	return nil
}

// Build builds the function of a folder into a file. It needs Go 1.24 or later.
func Build(ctx context.Context, folder, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("build a function: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, ".")
	build.Dir = folder
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=")
	var said bytes.Buffer
	build.Stdout, build.Stderr = &said, &said
	if err := build.Run(); err != nil {
		return fmt.Errorf("build a function: %w\n%s", err, strings.TrimSpace(said.String()))
	}
	return nil
}
