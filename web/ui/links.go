package ui

import (
	"net/url"

	"headwater/web/view"
)

// Link is a link with its text.
type Link struct{ Href, Text string }

// Current is the value of aria-current of a link: "page" if it leads to the page
// itself.
func Current(is bool) string {
	if is {
		return "page"
	}
	return "false"
}

// DeviceURL is the address of a device's page.
func DeviceURL(site, device string) string {
	return "/devices/" + url.PathEscape(site) + "/" + url.PathEscape(device)
}

// SubjectURL is the address of the page about what an alert is about.
func SubjectURL(a view.Alert) string {
	if a.Own {
		return "/pipeline"
	}
	return DeviceURL(a.Site, a.Device)
}

// RuleURL is the address of a rule's page.
func RuleURL(name string) string { return "/rules/" + url.PathEscape(name) }

// TryURL is the address of the page on which a rule is tried.
func TryURL(name string) string { return RuleURL(name) + "/try" }

// QueryEscape returns a text as a parameter of an address.
func QueryEscape(s string) string { return url.QueryEscape(s) }

// runbookURL returns the address of a runbook if a browser may be sent there.
func runbookURL(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return "", false
	}
	return u.String(), true
}

// runbookHost says where a runbook leads.
func runbookHost(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

// AlertURL is the page of one episode of an alert.
func AlertURL(a view.Alert) string { return "/alerts/" + url.PathEscape(a.Episode) }
