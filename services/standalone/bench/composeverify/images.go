package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// maxImage bounds an image of a service, in bytes.
const maxImage = 40_000_000

// own are Headwater's services.
var own = []string{"provision", "bridge", "gateway", "processor", "notifier", "writer", "functions", "dashboard"}

// Version and commit with which the images are built.
const version, commit = "v0.0.0-verify", "composeverify"

// images checks the images of the services: their size, that they run as a user without
// rights, and that they have a health check.
func (s *scenario) images(ctx context.Context) error {
	var sizes []string
	for _, name := range append([]string{"headwater"}, own...) {
		text, err := s.output(ctx, "docker", "image", "inspect", "--format",
			"{{.Size}} {{.Config.User}} {{with .Config.Healthcheck}}{{len .Test}}{{else}}0{{end}}", "headwater/"+name)
		if err != nil {
			return err
		}
		facts := strings.Fields(text)
		if len(facts) != 3 {
			return fmt.Errorf("image of %s: the engine says %q of it", name, text)
		}
		size, err := strconv.Atoi(facts[0])
		if err != nil || size > maxImage {
			return fmt.Errorf("image of %s: it has %s bytes, want %d at the most", name, facts[0], maxImage)
		}
		if uid, _, _ := strings.Cut(facts[1], ":"); uid == "" || uid == "0" || uid == "root" {
			return fmt.Errorf("image of %s: it runs as user %q", name, facts[1])
		}
		if facts[2] == "0" {
			return fmt.Errorf("image of %s: it has no health check", name)
		}
		sizes = append(sizes, fmt.Sprintf("%s %.1f MB", name, float64(size)/1e6))
	}
	s.say("images: %s; none runs as root, each has a health check", strings.Join(sizes, ", "))
	return nil
}

// contained checks how the containers of the services run: on a read-only root file
// system and without capabilities. It also checks that each reports its version and
// commit.
func (s *scenario) contained(ctx context.Context) error {
	for _, service := range own {
		ids, err := s.containers(ctx, service)
		if err != nil {
			return err
		}
		for _, id := range ids {
			held, err := s.output(ctx, "docker", "inspect", "--format", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}", id)
			if err != nil {
				return err
			}
			if want := "true [ALL] [no-new-privileges:true]"; held != want {
				return fmt.Errorf("a container of %s runs with %s, want %s", service, held, want)
			}
			at, err := s.address(ctx, id)
			if err != nil {
				return err
			}
			var life struct{ Version, Commit string }
			if err := get(ctx, "http://"+at+":9464/livez", &life); err != nil {
				return fmt.Errorf("/livez of %s: %w", service, err)
			}
			if life.Version != version || life.Commit != commit {
				return fmt.Errorf("/livez of %s says %+v, want version %s and commit %s", service, life, version, commit)
			}
		}
	}
	s.say("every container has a read-only root and no capabilities, and says its version and commit")
	return nil
}
