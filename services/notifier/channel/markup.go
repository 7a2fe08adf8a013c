package channel

import (
	"html"
	"net/url"
	"strings"

	"headwater/services/internal/config"
)

// markup is how a service of the library reads the texts of messages. The names and texts
// of devices are data: they must show as they are.
type markup struct {
	// title and body make a text harmless in its place.
	title, body func(string) string
	// titled is set if the service shows a title of its own.
	titled bool
	// params are what the service gets about the markup, besides what is in the URL.
	params map[string]string
	// plain is the markup with which the service takes texts as they are; nil if it has
	// no other one.
	plain *markup
}

// markupOf returns the markup of the service that a URL is for.
func markupOf(address config.Secret) markup {
	service := scheme(address)
	m := markup{title: asIs, body: asIs, titled: true}
	for _, s := range untitled() {
		m.titled = m.titled && s != service
	}
	switch service {
	case "telegram":
		m.plain = &markup{title: asIs, body: asIs, params: map[string]string{"parsemode": "None", "title": ""}}
		switch strings.ToLower(parameter(address, "parsemode")) {
		case "markdown":
			m.titled, m.body = false, escaper("_*`[")
		case "markdownv2":
			m.titled, m.body = false, escaper("\\_*[]()~`>#+-=|{}.!")
		case "html": // the library escapes the title
			m.body = html.EscapeString
		}
		// Without a mode the library escapes both.
	case "slack":
		m.title, m.body = slackText.Replace, slackText.Replace
	case "discord":
		m.title, m.body = escaper("\\_*~`|>#[]"), escaper("\\_*~`|>#[]")
	case "mattermost":
		m.body = escaper("\\_*~`|>#[]")
	}
	return m
}

func asIs(s string) string { return s }

// slackText escapes what Slack's documentation says must be.
var slackText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// escaper returns a function that puts a backslash before each of the characters.
func escaper(special string) func(string) string {
	var pairs []string
	for _, r := range special {
		pairs = append(pairs, string(r), "\\"+string(r))
	}
	return strings.NewReplacer(pairs...).Replace
}

// parameter returns a parameter of a URL, whose name may have any case.
func parameter(address config.Secret, name string) string {
	u, err := url.Parse(address.Reveal())
	if err != nil {
		return ""
	}
	for key, values := range u.Query() {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}
