package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/proto/cost"
)

func TestCost(t *testing.T) {
	prices := filepath.Join(t.TempDir(), "prices.json")
	dearer := strings.Replace(string(cost.BuiltIn()), `"price": 0.625`, `"price": 1.25`, 1)
	if err := os.WriteFile(prices, []byte(dearer), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte(`{"date": "2026-11-28"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"the table", nil, exitDone, []string{
			"20 devices", "AWS us-east-1, 2026-11-28, with the free tiers of the first year", "5 min", "$0.11", "1 min", "$1.09", "30 s", "$2.90", "1 s", "$109.39",
			"EDGE FIRST", "128 MB for 50 ms a call", "after the first year", "The computer of the site",
		}},
		{"one interval", []string{"--devices", "1", "--every", "15m"}, exitDone, []string{"1 device:", "15 min", "2880"}},
		{"two intervals", []string{"--every", "10s,1h"}, exitDone, []string{"10 s", "1 h"}},
		{"other prices", []string{"--prices", prices}, exitDone, []string{"$141.79"}},
		{"the built-in prices", []string{"--print-prices"}, exitDone, []string{`"source": "https://aws.amazon.com/iot-core/pricing/"`}},
		{"wrong interval", []string{"--every", "often"}, exitUsage, []string{`"often" is not a time`}},
		{"wrong number", []string{"--devices", "0"}, exitUsage, []string{"devices must be 1 to"}},
		{"wrong free tiers", []string{"--free", "some"}, exitUsage, []string{"free must be first-year, always or none"}},
		{"wrong prices", []string{"--prices", broken}, exitFailed, []string{"broken.json: provider, region and currency"}},
		{"no prices", []string{"--prices", prices + "x"}, exitUsage, []string{"prices.jsonx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs strings.Builder
			code := run(t.Context(), environment{out: &out, err: &errs, in: strings.NewReader("")}, append([]string{"cost"}, c.args...))
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, errs.String())
			}
			for _, want := range c.want {
				if !strings.Contains(out.String()+errs.String(), want) {
					t.Errorf("no %q in\n%s%s", want, out.String(), errs.String())
				}
			}
		})
	}
}

func TestCostAsJSON(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), environment{out: &out, err: &errs, in: strings.NewReader("")}, []string{"cost", "--json", "--every", "1s", "--free", "none"}); code != exitDone {
		t.Fatal(errs.String())
	}
	var got cost.Comparison
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Plans) != 1 || got.Plans[0].Seconds != 1 || len(got.Plans[0].Cloud.Lines) != 10 || got.Plans[0].Cloud.Total != got.Plans[0].CloudLater {
		t.Errorf("got %+v", got)
	}
}
