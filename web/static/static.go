// Package static holds the style sheets, the scripts and the icon of the
// dashboard, with htmx and uPlot under vendor, and serves them under addresses
// that carry a hash of their content, so that a browser may keep them forever.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed app.css icon.svg *.png *.js vendor
var content embed.FS

// Prefix is the path below which Handler serves.
const Prefix = "/static/"

type asset struct {
	name, mime string
	body       []byte
}

// The files by address, and the addresses by name: filled once, never changed.
var byURL, byName = load()

func load() (map[string]asset, map[string]string) {
	urls, names := map[string]asset{}, map[string]string{}
	err := fs.WalkDir(content, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := content.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(name)
		url := Prefix + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		urls[url] = asset{name: name, mime: mimeType(ext), body: body}
		names[name] = url
		return nil
	})
	if err != nil {
		panic("static: the embedded files cannot be read: " + err.Error())
	}
	return urls, names
}

func mimeType(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	}
	return "text/plain; charset=utf-8"
}

// URL returns the address of an embedded file, such as "app.css". It panics for
// a name that is not embedded, which a test of the page that uses it shows.
func URL(name string) string {
	url, ok := byName[name]
	if !ok {
		panic("static: no file " + name)
	}
	return url
}

// Body returns the content of an embedded file, for one that needs an address of its own. It
// panics like URL.
func Body(name string) []byte { return byURL[URL(name)].body }

// Handler serves the embedded files under their addresses and nothing else.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := byURL[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.mime)
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(a.body) // a browser that went away needs no answer
	})
}
