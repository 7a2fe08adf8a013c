package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/streams"
	"headwater/web/devices"
	"headwater/web/registry"
)

// maxImport bounds the file of an import, in bytes.
const maxImport = 8 << 20

// credentials requests credentials from the API.
func (c *client) credentials(ctx context.Context, method string, path []string, query url.Values, body, into any) error {
	at := c.base.JoinPath(append([]string{"api", "v1"}, path...)...)
	at.RawQuery = query.Encode()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	return c.send(ctx, method, at, content, into)
}

func (s *session) credentials() (all devices.List, err error) {
	return all, s.client.credentials(s.ctx, http.MethodGet, []string{"credentials"}, nil, nil, &all)
}

// proof is how a device shows who it is besides a token.
type proof struct {
	ClientID    []string `name:"client-id" help:"Further client id that only this credential may use, repeatable." placeholder:"ID" sep:"none"`
	URI         string   `name:"uri" help:"URI among the alternative names of its TLS certificate." placeholder:"URI"`
	Fingerprint string   `help:"SHA-256 of its TLS certificate, 64 hexadecimal digits." placeholder:"HEX"`
	NoToken     bool     `name:"no-token" help:"Make no token: the device has a certificate."`
}

type deviceAddCmd struct {
	Devices []string `arg:"" name:"site/device" help:"The device; with --gateway all that it speaks for, and * for any."`
	Name    string   `help:"Name of the credential, the user over MQTT. By default that of the device."`
	Gateway bool     `help:"It speaks for several devices."`
	proof   `embed:""`
	JSON    bool `name:"json" help:"Write JSON."`
}

// Run makes a credential and shows its token.
func (c *deviceAddCmd) Run(s *session) error {
	if c.NoToken && c.URI == "" && c.Fingerprint == "" {
		return usage("without a token a device needs a certificate: --uri or --fingerprint; to approve one as it is: headwater device approve")
	}
	var out devices.Issued
	err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials"}, nil, devices.Draft{
		Name: c.Name, Gateway: c.Gateway, Devices: c.Devices, ClientIDs: c.ClientID, URI: c.URI, Fingerprint: strings.ToLower(c.Fingerprint), NoToken: c.NoToken,
	}, &out)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(out)
	}
	return s.issued(out)
}

// issued shows a token, once.
func (s *session) issued(i devices.Issued) error {
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "User:\t%s\n", i.Credential.Name)
	if i.Token != "" {
		fmt.Fprintf(w, "Password:\t%s\n", i.Token)
	}
	fmt.Fprintf(w, "Client id:\t%s\n", strings.Join(append([]string{i.Credential.Name}, i.Credential.ClientIDs...), ", "))
	fmt.Fprintf(w, "Speaks for:\t%s\n", strings.Join(i.Credential.Devices, ", "))
	if !i.Credential.OldEnds.IsZero() {
		fmt.Fprintf(w, "Old one until:\t%s\n", i.Credential.OldEnds.UTC().Format(time.RFC3339))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if i.Token != "" {
		fmt.Fprintln(s.err, "Write the password down now: nobody can show it again.")
	}
	return nil
}

type deviceLsCmd struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run lists the credentials.
func (c *deviceLsCmd) Run(s *session) error {
	all, err := s.credentials()
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(all)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tSTATE\tPROOF\tCHANGED\tSPEAKS FOR")
	for _, d := range all.Credentials {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Name, d.Kind, d.State, proofOf(d), when(d.Changed), figure.Clip(strings.Join(d.Devices, " "), 100))
	}
	for _, u := range all.Unknown {
		fmt.Fprintf(w, "-\tunknown\t%s\t-\t-\t%s\n", u.Standing, u.Devices)
	}
	return w.Flush()
}

// proofOf says in a few words how a device shows who it is.
func proofOf(c devices.Credential) string {
	var parts []string
	switch {
	case c.Tokens == 1:
		parts = append(parts, "token")
	case c.Tokens > 1:
		parts = append(parts, "2 tokens until "+when(c.OldEnds))
	}
	if c.URI != "" || c.Fingerprint != "" {
		parts = append(parts, "certificate")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

type deviceRotateCmd struct {
	Name    string `arg:"" help:"Name of the credential."`
	Overlap string `help:"How long the old token stays good; 0s ends it at once." default:"24h"`
	JSON    bool   `name:"json" help:"Write JSON."`
}

// Run makes a new token.
func (c *deviceRotateCmd) Run(s *session) error {
	var out devices.Issued
	err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials", c.Name, "rotate"}, url.Values{"overlap": {c.Overlap}}, nil, &out)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.json(out)
	}
	return s.issued(out)
}

type deviceClaimCmd struct {
	Name string `arg:"" help:"Name of the credential."`
	JSON bool   `name:"json" help:"Write JSON."`
}

// Run makes a claim code and prints its link.
func (c *deviceClaimCmd) Run(s *session) error {
	var out struct {
		Name  string    `json:"name"`
		Link  string    `json:"link"`
		Until time.Time `json:"until"`
	}
	if err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials", c.Name, "claim"}, nil, nil, &out); err != nil {
		return err
	}
	if c.JSON {
		return s.json(out)
	}
	_, err := fmt.Fprintf(s.out, "The person who opens this link gets the password of %s, once, until %s:\n%s\n", safe(out.Name), out.Until.UTC().Format(time.RFC3339), safe(out.Link))
	return err
}

type deviceRevokeCmd struct {
	Names []string `arg:"" name:"name" help:"Names of the credentials."`
	Yes   bool     `short:"y" help:"Do not ask for confirmation."`
}

// Run revokes credentials after a confirmation.
func (c *deviceRevokeCmd) Run(s *session) error {
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Revoke %s? The connections are closed, and what they keep at the server is cleared.", safe(strings.Join(c.Names, ", ")))); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range c.Names {
		if err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials", name, "revoke"}, nil, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is revoked\n", name)
	}
	return errors.Join(errs...)
}

type deviceApproveCmd struct {
	Device string `arg:"" name:"device" help:"The device as site/device, or the name of a revoked credential."`
	Name   string `help:"Name in the list of credentials. By default that of the device."`
}

// Run approves an unknown device, or lets a revoked one in again.
func (c *deviceApproveCmd) Run(s *session) error {
	all, err := s.credentials()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all.Credentials, func(d devices.Credential) bool {
		return d.Name == c.Device || d.Kind == "device" && slices.Contains(d.Devices, c.Device)
	})
	switch {
	case i >= 0:
		name := all.Credentials[i].Name
		if err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials", name, "approve"}, nil, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%s is allowed\n", name)
		return nil
	case !strings.Contains(c.Device, "/"):
		return fmt.Errorf("there is no credential %s; an unknown device is written as site/device", safe(c.Device))
	}
	err = s.client.credentials(s.ctx, http.MethodPost, []string{"credentials"}, nil,
		devices.Draft{Name: c.Name, Devices: []string{c.Device}, NoToken: true}, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is approved and connects as before. What it sent meanwhile: headwater deadletters redrive --service bridge --reason quarantined\n", safe(c.Device))
	return nil
}

type deviceUnknownCmd struct {
	Rules []string `arg:"" optional:"" name:"site/device=standing" help:"What becomes of devices without a credential."`
}

// Help returns what --help says beside the arguments.
func (*deviceUnknownCmd) Help() string {
	return "A standing is allowed, quarantined or refused. The first rule that matches counts; * is any. Without rules all are allowed."
}

// Run decides about unknown devices.
func (c *deviceUnknownCmd) Run(s *session) error {
	rules := make([]devices.UnknownRule, len(c.Rules))
	for i, text := range c.Rules {
		var found bool
		if rules[i].Devices, rules[i].Standing, found = strings.Cut(text, "="); !found {
			return usage(fmt.Sprintf("%q is not a rule such as 'hall/*=quarantined'", text))
		}
	}
	if err := s.client.credentials(s.ctx, http.MethodPut, []string{"unknown-devices"}, nil, rules, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s for unknown devices\n", figure.Plural(len(rules), "rule", "rules"))
	return err
}

type deviceImportCmd struct {
	File string `arg:"" help:"CSV file with a header, or - for the standard input." placeholder:"FILE"`
	Out  string `short:"o" help:"File for the tokens, which must not exist; by default they are printed." placeholder:"FILE"`
}

// Help returns what --help says beside the arguments.
func (*deviceImportCmd) Help() string {
	return "The columns are site and device, and as wanted name, client_id, uri, fingerprint."
}

// Run makes a credential for each line and writes them with their tokens as CSV. A line
// that is refused does not stop the others.
func (c *deviceImportCmd) Run(s *session) error {
	drafts, err := c.read(s)
	if err != nil {
		return err
	}
	out := s.out
	if c.Out != "" {
		file, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer file.Close()
		out = file
	}
	w := csv.NewWriter(out)
	_ = w.Write([]string{"name", "device", "token"}) // Flush returns the error
	var errs []error
	for i, d := range drafts {
		var issued devices.Issued
		if err := s.client.credentials(s.ctx, http.MethodPost, []string{"credentials"}, nil, d, &issued); err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", i+2, err))
			continue
		}
		_ = w.Write([]string{issued.Credential.Name, strings.Join(issued.Credential.Devices, " "), issued.Token})
		// A token that is made must not be lost.
		w.Flush()
	}
	w.Flush()
	return errors.Join(append(errs, w.Error())...)
}

// read returns a draft for each line.
func (c *deviceImportCmd) read(s *session) ([]devices.Draft, error) {
	in := s.in
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	r := csv.NewReader(io.LimitReader(in, maxImport))
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if err != nil {
		return nil, fmt.Errorf("read the header of %s: %w", c.File, err)
	}
	for _, column := range header {
		if !slices.Contains([]string{"name", "site", "device", "client_id", "uri", "fingerprint"}, column) {
			return nil, fmt.Errorf("%s: the column %q is unknown", c.File, safe(column))
		}
	}
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.File, err)
	}
	drafts := make([]devices.Draft, len(lines))
	for i, line := range lines {
		field := make(map[string]string)
		for j, column := range header {
			field[column] = line[j]
		}
		drafts[i] = devices.Draft{
			Name: field["name"], Devices: []string{field["site"] + "/" + field["device"]}, URI: field["uri"], Fingerprint: strings.ToLower(field["fingerprint"]),
		}
		if id := field["client_id"]; id != "" {
			drafts[i].ClientIDs = []string{id}
		}
	}
	return drafts, nil
}

type deviceMergeCmd struct {
	From string `arg:"" name:"site/device" help:"The device that is continued; it leaves the lists."`
	Into string `arg:"" name:"into" help:"The device that continues it, new or known, as site/device."`
}

// Run has one device continue another.
func (c *deviceMergeCmd) Run(s *session) error {
	site, device, err := siteDevice(c.From)
	if err != nil {
		return err
	}
	if err := s.client.credentials(s.ctx, http.MethodPost, []string{"devices", site, device, "merge"}, url.Values{"into": {c.Into}}, nil, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s continues %s and has its history\n", c.Into, c.From)
	return err
}

type deviceDeleteCmd struct {
	Devices []string `arg:"" name:"site/device" help:"The devices."`
	Force   bool     `help:"Also if they still report: they appear again with the next reading."`
	Yes     bool     `short:"y" help:"Do not ask for confirmation."`
}

// Run deletes devices after a confirmation.
func (c *deviceDeleteCmd) Run(s *session) error {
	for _, name := range c.Devices {
		if _, _, err := siteDevice(name); err != nil {
			return err
		}
	}
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %s with the whole history? This cannot be undone.", safe(strings.Join(c.Devices, ", ")))); err != nil {
			return err
		}
	}
	query := url.Values{}
	if c.Force {
		query.Set("force", "1")
	}
	var errs []error
	for _, name := range c.Devices {
		site, device, _ := strings.Cut(name, "/")
		var out registry.Removed
		if err := s.client.credentials(s.ctx, http.MethodDelete, []string{"devices", site, device}, query, nil, &out); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s deleted\n", strings.Join(out.Devices, ", "))
		if out.History != "" {
			fmt.Fprintf(s.err, "%s: %s\n", name, safe(out.History))
		}
	}
	return errors.Join(errs...)
}

// siteDevice splits site/device.
func siteDevice(text string) (site, device string, err error) {
	site, device, _ = strings.Cut(text, "/")
	if !streams.ValidToken(site) || !streams.ValidToken(device) {
		return "", "", usage(fmt.Sprintf("%q is not site/device", text))
	}
	return site, device, nil
}
