package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Names and tags of the official images in the Compose files.
const (
	imageGo         = "golang:1.26-alpine"
	imageNATS       = "nats:2.15.2-alpine"
	imageInfluxDB   = "influxdb:2.7"
	imagePrometheus = "prom/prometheus:v3.8.0"
)

// errAbsent is returned when an optional stand-in can't be built.
var errAbsent = errors.New("this machine has nothing to build it from")

// applets are the commands of Alpine and Debian images that the Compose files use.
var applets = []string{"sh", "cat", "cp", "echo", "env", "id", "ls", "mkdir", "rm", "sleep", "wget"}

// natsEntrypoint does what the entry point of the official image does with a command.
const natsEntrypoint = "#!/bin/sh\nset -e\nexec \"$@\"\n"

// standIns builds the missing images from Go modules and returns their names.
func standIns(ctx context.Context, e *engine, root string) (made []string, err error) {
	temporary, err := os.MkdirTemp("", "headwater-images-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	for _, image := range []struct {
		name string
		make func(ctx context.Context, e *engine, root, temporary string) error
	}{{imageGo, standInGo}, {imageNATS, standInNATS}, {imageInfluxDB, standInInfluxDB}, {imagePrometheus, standInPrometheus}} {
		if _, err := e.output(ctx, "docker", "image", "inspect", image.name); err == nil {
			continue
		}
		fmt.Fprintf(e.log, "%s is not here; a stand-in is built\n", image.name)
		if err := image.make(ctx, e, root, temporary); errors.Is(err, errAbsent) {
			continue
		} else if err != nil {
			return made, fmt.Errorf("stand-in for %s: %w", image.name, err)
		}
		made = append(made, image.name)
	}
	return made, nil
}

func standInGo(ctx context.Context, e *engine, _, _ string) error {
	goroot, err := e.output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	return importImage(ctx, e, imageGo, func(w *layer) error {
		w.busybox()
		w.folder("tmp")
		w.folder("root")
		w.file("etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt", 0o644)
		for _, part := range []string{"bin", "pkg", "src", "lib"} {
			w.tree("usr/local/go/"+part, filepath.Join(goroot, part))
		}
		w.file("usr/local/go/go.env", filepath.Join(goroot, "go.env"), 0o644)
		w.file("usr/local/go/VERSION", filepath.Join(goroot, "VERSION"), 0o644)
		return w.err
	}, "ENV PATH=/usr/local/go/bin:/bin", "ENV GOPATH=/go GOTOOLCHAIN=local HOME=/root")
}

func standInNATS(ctx context.Context, e *engine, root, temporary string) error {
	program := filepath.Join(temporary, "nats-server")
	if err := buildProgram(ctx, filepath.Join(root, "streams"), program, "github.com/nats-io/nats-server/v2"); err != nil {
		return err
	}
	return importImage(ctx, e, imageNATS, func(w *layer) error {
		w.busybox()
		w.folder("tmp")
		w.folder("data")
		w.file("usr/local/bin/nats-server", program, 0o755)
		w.text("usr/local/bin/docker-entrypoint.sh", natsEntrypoint, 0o755)
		return w.err
	}, "ENV PATH=/usr/local/bin:/bin", `ENTRYPOINT ["docker-entrypoint.sh"]`,
		`CMD ["nats-server", "--config", "/etc/nats/nats-server.conf"]`)
}

func standInInfluxDB(ctx context.Context, e *engine, root, temporary string) error {
	program := filepath.Join(temporary, "influxdb2")
	if err := buildProgram(ctx, filepath.Join(root, "services", "standalone"), program, "./bench/standin"); err != nil {
		return err
	}
	return importImage(ctx, e, imageInfluxDB, func(w *layer) error {
		w.busybox()
		w.folder("tmp")
		w.folder("var/lib/influxdb2")
		w.folder("etc/influxdb2")
		w.file("usr/bin/influxd", program, 0o755)
		w.file("usr/bin/influx", program, 0o755)
		return w.err
	}, "ENV PATH=/usr/bin:/bin", `ENTRYPOINT ["influxd"]`)
}

// standInPrometheus packs the Prometheus of this machine, with its libraries.
func standInPrometheus(ctx context.Context, e *engine, _, _ string) error {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return errAbsent
	}
	// ldd fails for a static program, which has no libraries.
	linked, _ := e.output(ctx, "ldd", program)
	return importImage(ctx, e, imagePrometheus, func(w *layer) error {
		w.folder("tmp")
		w.folder("prometheus")
		w.file("bin/prometheus", program, 0o755)
		for word := range strings.FieldsSeq(linked) {
			if path, absolute := strings.CutPrefix(word, "/"); absolute {
				w.file(path, word, 0o755)
			}
		}
		return w.err
	}, "USER 65534", `ENTRYPOINT ["/bin/prometheus"]`,
		`CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]`)
}

// buildProgram builds a static program.
func buildProgram(ctx context.Context, folder, output, name string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, name)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", name, err, lastLines(string(out)))
	}
	return nil
}

// importImage streams an image of one layer to the engine.
func importImage(ctx context.Context, e *engine, name string, write func(*layer) error, changes ...string) error {
	read, pipe := io.Pipe()
	written := make(chan error, 1)
	go func() {
		w := &layer{tar: tar.NewWriter(pipe)}
		err := errors.Join(write(w), w.tar.Close())
		pipe.CloseWithError(err)
		written <- err
	}()
	command := []string{"docker", "import"}
	for _, change := range changes {
		command = append(command, "--change", change)
	}
	_, err := e.feed(ctx, read, append(command, "-", name)...)
	// Unblock the writer if the reader has stopped.
	_ = read.CloseWithError(io.ErrClosedPipe)
	if failed := <-written; err == nil {
		err = failed
	}
	return err
}

// layer writes the files of an image. After an error it does nothing.
type layer struct {
	tar *tar.Writer
	err error
}

// busybox adds a shell and the commands for scripts.
func (l *layer) busybox() {
	program, err := exec.LookPath("busybox")
	if err != nil {
		l.fail(fmt.Errorf("the images need a static busybox (Debian: apt-get install busybox-static): %w", err))
		return
	}
	l.file("bin/busybox", program, 0o755)
	for _, name := range applets {
		l.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
	}
}

func (l *layer) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *layer) header(h *tar.Header) {
	if l.err == nil {
		l.fail(l.tar.WriteHeader(h))
	}
}

func (l *layer) folder(name string) {
	l.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o1777})
}

func (l *layer) text(name, content string, mode int64) {
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: mode})
	if l.err == nil {
		_, err := io.WriteString(l.tar, content)
		l.fail(err)
	}
}

func (l *layer) file(name, source string, mode int64) {
	if l.err != nil {
		return
	}
	f, err := os.Open(source)
	if err != nil {
		l.fail(err)
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		l.fail(err)
		return
	}
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: mode})
	if l.err == nil {
		_, err := io.Copy(l.tar, f)
		l.fail(err)
	}
}

// tree adds the files below a folder, without tests and their data.
func (l *layer) tree(name, source string) {
	l.fail(filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || l.err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, "_test.go") || !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		below, err := filepath.Rel(source, file)
		if err != nil {
			return err
		}
		l.file(path.Join(name, filepath.ToSlash(below)), file, int64(info.Mode().Perm()))
		return nil
	}))
}
