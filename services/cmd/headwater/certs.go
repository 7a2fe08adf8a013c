package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headwater/services/internal/certs"
)

// authorityOf is where the authority of a Headwater is.
type authorityOf struct {
	Data string `help:"Data folder of Headwater with --tls auto." default:"${data}" type:"path" placeholder:"DIR" env:"HEADWATER_DATA"`
}

func (a authorityOf) open(read func(data string) (*certs.Authority, error)) (*certs.Authority, error) {
	authority, err := read(a.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no authority in %s: start Headwater with --tls auto once, or name its folder with --data", a.Data)
	}
	return authority, err
}

// certsShowCmd shows the authority.
type certsShowCmd struct {
	authorityOf `embed:""`
}

// Run prints what a person compares before trusting the authority.
func (c *certsShowCmd) Run(s *session) error {
	authority, err := c.open(certs.OpenAuthority)
	if err != nil {
		return err
	}
	cert := authority.Certificate()
	_, err = fmt.Fprintf(s.out, "name         %s\nSHA-256      %s\nvalid until  %s\nmay sign     %s\nfolder       %s\n",
		cert.Subject.CommonName, certs.Fingerprint(cert), cert.NotAfter.UTC().Format(time.DateOnly), limits(cert), filepath.Join(c.Data, certs.Folder))
	return err
}

// limits lists what an authority may sign for.
func limits(cert *x509.Certificate) string {
	all := slices.Clone(cert.PermittedDNSDomains)
	for _, network := range cert.PermittedIPRanges {
		all = append(all, network.String())
	}
	return strings.Join(all, ", ")
}

// certsExportCmd writes the certificate of the authority.
type certsExportCmd struct {
	authorityOf `embed:""`
	Out         string `short:"o" help:"File to write; the terminal by default." type:"path" placeholder:"FILE"`
}

// Run writes what phones, computers and devices are to trust. It is no secret.
func (c *certsExportCmd) Run(s *session) error {
	authority, err := c.open(certs.OpenAuthority)
	if err != nil {
		return err
	}
	if c.Out == "" {
		_, err = s.out.Write(authority.PEM)
		return err
	}
	if err := os.WriteFile(c.Out, authority.PEM, 0o644); err != nil {
		return fmt.Errorf("write the certificate: %w", err)
	}
	return nil
}

// certsClientCmd makes the certificate of a device.
type certsClientCmd struct {
	authorityOf `embed:""`
	Device      string `arg:"" help:"SITE/DEVICE that the certificate names." placeholder:"SITE/DEVICE"`
	Days        int    `help:"Days that it is valid." default:"730"`
	Out         string `short:"o" help:"Folder for the files." default:"." type:"path" placeholder:"DIR"`
}

// mostDays bounds how long the certificate of a device is valid.
const mostDays = 3650

// Run writes the certificate and its key. It never replaces a file.
func (c *certsClientCmd) Run(s *session) error {
	if c.Days < 1 || c.Days > mostDays {
		return usage(fmt.Sprintf("--days %d is not between 1 and %d", c.Days, mostDays))
	}
	site, device, found := strings.Cut(c.Device, "/")
	if !found {
		return usage(fmt.Sprintf("%q is not SITE/DEVICE", c.Device))
	}
	authority, err := c.open(certs.OpenDeviceAuthority)
	if err != nil {
		return err
	}
	cert, key, err := authority.ForDevice(site, device, time.Now(), c.Days)
	if err != nil {
		return err
	}
	name := filepath.Join(c.Out, site+"-"+device)
	for _, file := range []struct {
		path string
		text []byte
		mode os.FileMode
	}{{name + ".key", key, 0o600}, {name + ".crt", cert, 0o644}} {
		if err := writeNew(file.path, file.text, file.mode); err != nil {
			return fmt.Errorf("write the certificate: %w", err)
		}
	}
	_, err = fmt.Fprintf(s.out, "%s.crt and %s.key name %s; the device also needs the certificate of the authority (headwater certs export)\n", name, name, certs.DeviceURI(site, device))
	return err
}

func writeNew(path string, text []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
