// Package live keeps open pages up to date over server-sent events. A hub renders
// the parts of each watched page, and sends to the browsers only the parts that
// changed, or patches of them. It knows nothing of what the parts show.
package live
