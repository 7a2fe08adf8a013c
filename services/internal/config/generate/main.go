// Command generate writes what is made from the tables of package rule: the JSON
// Schema of configuration files, and the tables in the documents, between lines
// like
//
//	<!-- generated: fields -->
//	<!-- end -->
//
// Run it in the folder of the module services:
//
//	go run ./internal/config/generate
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	files, err := generated(".")
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// documents are the files with tables, seen from the module services.
var documents = []string{"rule/README.md"}

// generated returns the generated files by their paths; the documents have the text
// that people wrote around the tables. The folder is that of the module services.
func generated(services string) (map[string]string, error) {
	text, err := schema()
	if err != nil {
		return nil, err
	}
	files := map[string]string{filepath.Join(services, "internal", "config", "schema.json"): text}
	for _, name := range documents {
		path := filepath.Join(services, filepath.FromSlash(name))
		written, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files[path], err = withTables(string(written))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return files, nil
}
