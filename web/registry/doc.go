// Package registry has the pages on which people say what their devices are: the list of
// devices with names, rooms and tags, the form of one device, and the same as CSV and in
// the API.
package registry
