package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"headwater/services/bridge/topic"
	"headwater/services/decode"
	"headwater/services/decode/intake"
	"headwater/services/internal/config"
	"headwater/streams"
)

// decodeCmd shows what becomes of a message of a device.
type decodeCmd struct {
	Topic      string   `help:"Topic of the message." required:""`
	Config     string   `help:"File with mappings, series and time zones." type:"existingfile" placeholder:"FILE"`
	MQTTTopics []string `name:"mqtt-topics" help:"Patterns of Headwater's own topics." default:"sensors/{site}/{device}/{metric},sensors/{site}/{device}"`
	File       string   `arg:"" optional:"" help:"File with the payload; standard input without one." type:"existingfile"`
}

// Run prints the readings, or why there are none and what to change. A message that would
// become a dead letter is refused.
func (c decodeCmd) Run(s *session) error {
	topics, err := topic.New(c.MQTTTopics...)
	if err != nil {
		return err
	}
	cfg := &config.Config{TimeZone: config.DefaultTimeZone}
	if c.Config != "" {
		text, err := readConfig(c.Config)
		if err != nil {
			return err
		}
		if cfg, err = config.ParseFile(c.Config, text); err != nil {
			return err
		}
	}
	in := s.in
	if c.File != "" {
		file, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	payload, err := io.ReadAll(io.LimitReader(in, streams.MaxDevicePayload+1))
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	limits := decode.DefaultLimits()
	limits.Payload = streams.MaxDevicePayload
	d := decode.New(limits, zonesOf(cfg), func(site, device, metric string) (declared decode.Series) {
		declared.Unit, declared.Literal = cfg.Reading(site, device, metric)
		return declared
	})
	tried := intake.Try(d, topics, cfg.Mappings, c.Topic, payload, time.Now().UnixNano())
	return printTried(s.out, tried)
}

// zonesOf returns the time zones of the sites of a configuration.
func zonesOf(c *config.Config) decode.Zones {
	return func(site string) *time.Location {
		location, err := time.LoadLocation(c.Zone(site))
		if err != nil {
			return nil // the configuration was checked
		}
		return location
	}
}

// printTried prints what became of a message.
func printTried(out io.Writer, t intake.Tried) error {
	if t.Decoder != "" {
		fmt.Fprintf(out, "decoder: %s\n", t.Decoder)
	}
	if t.Nothing != "" {
		fmt.Fprintf(out, "no reading: %s\n", t.Nothing)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, item := range t.Items {
		for _, r := range item.Readings {
			at := "on arrival"
			if r.HasTime {
				at = time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
			}
			fmt.Fprintf(w, "%s/%s\t%s\t%s %s\t%s\n", item.Site, item.Device, r.Metric, valueOf(r), r.Unit, at)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the readings: %w", err)
	}
	if t.Reason == "" {
		return nil
	}
	fmt.Fprintf(out, "dead letter (%s): %s\n%s\n", t.Reason, t.Problem, t.Advice)
	return errRefused
}

func valueOf(r decode.Reading) string {
	switch r.Kind {
	case decode.Flag:
		return strconv.FormatBool(r.Flag)
	case decode.Text:
		return strconv.Quote(r.Text)
	}
	return strconv.FormatFloat(r.Value, 'g', -1, 64)
}
