// Command generate writes the configuration file of a nats-server that runs by
// itself, from the template that the embedded one is configured by.
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
	if err := run(filepath.Join("..", "deploy", "nats", "nats-server.conf")); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := natsd.ServerFile()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
