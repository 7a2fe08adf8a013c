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
	for name, text := range map[string]func() (string, error){
		"nats-server.conf": natsd.ServerFile, "nats-cluster.conf": natsd.ClusterFile,
	} {
		if err := write(filepath.Join(folder, name), text); err != nil {
			fmt.Fprintln(os.Stderr, "generate:", err)
			os.Exit(1)
		}
	}
}

func write(path string, file func() (string, error)) error {
	text, err := file()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
