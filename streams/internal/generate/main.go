// Command generate writes the configuration files of nats-servers that run by
// themselves, from the template that the embedded one is configured by.
//
// Run it in the root of the module:
//
//	go run ./internal/generate
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"headwater/streams/natsd"
)

func main() {
	folder := filepath.Join("..", "deploy", "nats")
	for name, text := range map[string]func(secure bool) (string, error){"nats-server": natsd.ServerFile, "nats-cluster": natsd.ClusterFile} {
		for end, secure := range map[string]bool{".conf": false, "-tls.conf": true} {
			if err := write(filepath.Join(folder, name+end), text, secure); err != nil {
				fmt.Fprintln(os.Stderr, "generate:", err)
				os.Exit(1)
			}
		}
	}
}

func write(path string, file func(secure bool) (string, error), secure bool) error {
	text, err := file(secure)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
