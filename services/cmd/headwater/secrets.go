package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"headwater/streams"
)

// secretsCmd creates the secrets of an installation.
type secretsCmd struct {
	Folder string `arg:"" type:"path" help:"Folder for the secrets, one a file. Existing ones stay as they are."`
}

// Run writes every secret that is missing.
func (c *secretsCmd) Run(s *session) error {
	if err := os.MkdirAll(c.Folder, 0o700); err != nil {
		return fmt.Errorf("create the folder of the secrets: %w", err)
	}
	made := 0
	keep := func(name string, secret func() (string, error)) (string, error) {
		text, fresh, err := keepSecret(filepath.Join(c.Folder, name), secret)
		if fresh {
			made++
		}
		return text, err
	}
	var environment strings.Builder
	environment.WriteString("# Passwords and issuer for nats-server's configuration file.\n")
	for _, user := range slices.Concat(streams.Services(), []string{"core", "devices", "devices0", "auth", "system"}) {
		password, err := keep(user, func() (string, error) { return rand.Text(), nil })
		if err != nil {
			return err
		}
		fmt.Fprintf(&environment, "HEADWATER_NATS_PASSWORD_%s=%s\n", strings.ToUpper(user), password)
	}
	// The servers of a cluster log in to each other with the password of routes.
	for _, name := range []string{"influx-token", "influx-password", "routes"} {
		if _, err := keep(name, func() (string, error) { return rand.Text(), nil }); err != nil {
			return err
		}
	}
	seed, err := keep("issuer-seed", issuerSeed)
	if err != nil {
		return err
	}
	issuer, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.Folder, "issuer-seed"), err)
	}
	public, err := issuer.PublicKey()
	if err != nil {
		return fmt.Errorf("public key of the issuer: %w", err)
	}
	fmt.Fprintf(&environment, "HEADWATER_NATS_ISSUER=%s\n", public)
	// All of it comes from the other secrets. It is written again when a new service needs one.
	path := filepath.Join(c.Folder, "nats.env")
	if old, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(old)) != strings.TrimSpace(environment.String()) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("renew %s: %w", path, err)
		}
	}
	if _, err := keep("nats.env", func() (string, error) { return environment.String(), nil }); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s made in %s\n", count(made, "secret"), c.Folder)
	return err
}

func issuerSeed() (string, error) {
	issuer, err := nkeys.CreateAccount()
	if err != nil {
		return "", fmt.Errorf("create the key that signs log-ins: %w", err)
	}
	seed, err := issuer.Seed()
	return string(seed), err
}

// keepSecret returns the content of a file. If the file does not exist, keepSecret
// creates it, atomically.
func keepSecret(path string, secret func() (string, error)) (text string, fresh bool, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("read secret: %w", err)
	}
	text, err = secret()
	if err != nil {
		return "", false, err
	}
	unfinished := path + ".new"
	// The services and databases that read it run as other users.
	if err := os.WriteFile(unfinished, []byte(text+"\n"), 0o444); err != nil {
		return "", false, fmt.Errorf("write secret: %w", err)
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", false, fmt.Errorf("write secret: %w", err)
	}
	return text, true, nil
}
