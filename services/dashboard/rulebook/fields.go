package rulebook

import (
	"maps"

	"headwater/services/internal/config"
	"headwater/services/rule"
	"headwater/web/rules"
)

// channelsField is the field of the form with the channels to notify.
const channelsField = "channels"

// Fields returns a rule as the fields of the form have it. What has its default
// is left empty where the form shows the default instead.
func Fields(r rule.Rule) map[string]string {
	f := config.Fields(r)
	switch {
	case r.Notify == nil:
	case len(r.Notify) == 0:
		f["notify"] = rules.NotifyNobody
	default:
		f["notify"], f[channelsField] = rules.NotifySome, f["notify"]
	}
	return f
}

// Text returns the fields of the form as YAML, also when they make no rule: reading
// the text then reports what is wrong. It leaves out the fields that the detector does
// not take, because the form does not show them.
func Text(fields map[string]string) string {
	f := maps.Clone(fields)
	switch f["notify"] {
	case rules.NotifyNobody:
		f["notify"] = ""
	case rules.NotifySome:
		f["notify"] = f[channelsField]
	default:
		delete(f, "notify")
	}
	return config.FormatFields(f)
}
