package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/proto/figure"
	"headwater/web/channels"
)

type channelLsCmd struct {
	JSON bool `name:"json" help:"Write JSON, with the latest messages of each and what became of them."`
}

// Run lists the channels.
func (c *channelLsCmd) Run(s *session) error {
	var list channels.List
	if err := s.client.people(s.ctx, http.MethodGet, []string{"channels"}, nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return s.json(list.Channels)
	}
	if len(list.Channels) == 0 {
		_, err := fmt.Fprintln(s.out, "There are no channels: alerts appear on the dashboard only.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tTYPE\tTO\tLATEST MESSAGE\tOUTCOME")
	for _, one := range list.Channels {
		latest, outcome := "none", ""
		if len(one.Deliveries) > 0 {
			d := one.Deliveries[0]
			latest = d.At.UTC().Format(time.RFC3339) + " " + figure.Clip(safe(d.Title), 60)
			outcome = d.Outcome
			if d.Error != "" {
				outcome += ": " + figure.Clip(safe(d.Error), 120)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", safe(one.Name), safe(one.Type), safe(one.To), latest, outcome)
	}
	return w.Flush()
}

// maxSecret bounds a file with a secret, in bytes.
const maxSecret = 4 << 10

// channelFlags are what a channel is made of. What is secret comes from files: arguments can be
// read by everybody on the machine.
type channelFlags struct {
	URLFile    string `name:"url-file" help:"File with the URL to post to, - for standard input." placeholder:"FILE"`
	SecretFile string `name:"secret-file" help:"File with the secret that signs what a webhook posts, - for standard input." placeholder:"FILE"`
	Format     string `help:"What a webhook posts: headwater or alertmanager." enum:",headwater,alertmanager" default:""`
	signed     `embed:""`
}

// save makes or changes a channel.
func (f channelFlags) save(s *session, method string, path []string, d channels.Draft) error {
	if f.URLFile == "-" && f.SecretFile == "-" {
		return usage("standard input is either the URL or the secret")
	}
	for _, secret := range []struct {
		file string
		into *string
	}{{f.URLFile, &d.URL}, {f.SecretFile, &d.Secret}} {
		if secret.file == "" {
			continue
		}
		_, content, err := s.read(secret.file, maxSecret)
		if err != nil {
			return err
		}
		*secret.into = strings.TrimSpace(string(content))
	}
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode the channel: %w", err)
	}
	at := s.client.base.JoinPath(append([]string{"api", "v1", "channels"}, path...)...)
	at.RawQuery = url.Values{"by": {f.By}}.Encode()
	if err := s.client.send(s.ctx, method, at, body, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%[1]s is saved. Try it: headwater channel test %[1]s\n", safe(d.Name))
	return err
}

type channelAddCmd struct {
	Name     string `arg:"" help:"Name, of 1 to 64 characters of a-z, 0-9 and -."`
	Type     string `help:"ntfy, webhook, webpush, or shoutrrr (mail, Slack, Telegram, Teams and others)." enum:"ntfy,webhook,webpush,shoutrrr" required:""`
	Resolved bool   `help:"Notify of the end of alerts too." default:"true" negatable:""`
	channelFlags
}

// Run makes a channel.
func (c *channelAddCmd) Run(s *session) error {
	return c.save(s, http.MethodPost, nil, channels.Draft{Name: c.Name, Type: c.Type, Format: c.Format, Resolved: c.Resolved})
}

type channelEditCmd struct {
	Name     string `arg:"" help:"Name, as ls shows it."`
	Resolved *bool  `help:"Notify of the end of alerts too." negatable:""`
	Unsigned bool   `help:"Remove the secret of a webhook."`
	channelFlags
}

// Run changes a channel.
func (c *channelEditCmd) Run(s *session) error {
	var list channels.List
	if err := s.client.people(s.ctx, http.MethodGet, []string{"channels"}, nil, &list); err != nil {
		return err
	}
	i := slices.IndexFunc(list.Channels, func(ch channels.Channel) bool { return ch.Name == c.Name })
	if i < 0 {
		return fmt.Errorf("%s: there is no such channel", safe(c.Name))
	}
	was := list.Channels[i]
	d := channels.Draft{Name: c.Name, Type: was.Type, Format: cmp.Or(c.Format, was.Format), Resolved: was.Resolved, Unsigned: c.Unsigned}
	if c.Resolved != nil {
		d.Resolved = *c.Resolved
	}
	return c.save(s, http.MethodPut, []string{url.PathEscape(c.Name)}, d)
}

type channelRmCmd struct {
	Names  []string `arg:"" name:"name" help:"Names, as ls shows them."`
	Yes    bool     `short:"y" help:"Do not ask for confirmation."`
	signed `embed:""`
}

// Run deletes channels after a confirmation.
func (c *channelRmCmd) Run(s *session) error {
	if !c.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %s?", safe(strings.Join(c.Names, ", ")))); err != nil {
			return err
		}
	}
	var all error
	for _, name := range c.Names {
		if err := s.client.people(s.ctx, http.MethodDelete, []string{"channels", url.PathEscape(name)}, url.Values{"by": {c.By}}, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s deleted\n", safe(name))
	}
	return all
}

type channelTestCmd struct {
	Channels []string `arg:"" name:"channel" help:"Names, as ls shows them."`
}

// Run sends a test through channels and waits for the answers of the other sides.
func (c *channelTestCmd) Run(s *session) error {
	var all error
	for _, name := range c.Channels {
		if err := s.client.people(s.ctx, http.MethodPost, []string{"channels", url.PathEscape(name), "test"}, nil, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s: the other side took the test\n", safe(name))
	}
	return all
}

type channelReportCmd struct{}

// Run sends the morning report as it is now and waits for the answer of the other side.
func (c *channelReportCmd) Run(s *session) error {
	if err := s.client.people(s.ctx, http.MethodPost, []string{"report"}, nil, nil); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "The other side took the report.")
	return err
}
