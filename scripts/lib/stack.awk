# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Usage: awk -f stack.awk -v components="PREFIX..." [-v never=FILE] POINTERS ASSIGNED GRAPH...
#
# The worst stack of a library, from the call graphs that gcc writes with -fcallgraph-info=su. Prints a line for each
# prefix of source files: the prefix, the bytes, and the chain of functions from an entry of that part, a function that
# is not static, to its end, wherever in the library that is.
#
# A call by pointer is judged by its place in the source: what is called through the table of callbacks of the shim is
# the host's, and ends the chain. Any other pointer is a member, or an argument, of some name; it reaches every function
# that is assigned to a member of this name anywhere (ASSIGNED: lines "FILE MEMBER FUNCTION"), whatever the structure, or
# that POINTERS names for it. So the chain may be longer than any that can happen, but not shorter. A call of which
# neither knows anything, a frame without a bound and a function without a graph are errors. Recursion is printed, as a
# line with the word and the functions in the circle, which is followed once.
#
# A function that ends in a call to another one may leave by a jump, when its frame is gone already: then the chain has 0
# for it. The assembly tells, which stands beside each graph (-save-temps=obj). It counts only where all calls from one to
# the other are such jumps, and of calls by pointer only where a function has no others.
#
# NEVER names functions that calls into a part never reach, for a reason that the graph does not know: lines "PREFIX
# FUNCTION...". They count for the components of that prefix, as long as all that are asked for are named.
#
# Functions of the compiler's runtime, and memcpy and its like, count as nothing.

function complain(text)
{
    print "stack.awk: " text >"/dev/stderr"
    failed = 1
}

# The text of a call at FILE:LINE:COLUMN, with the lines after it: it may be the argument of another one there.
function text_of(place,    parts, number, line, text)
{
    split(place, parts, ":")
    number = 0
    text = ""
    while ((getline line < parts[1]) > 0) {
        number++
        if (number == parts[2]) {
            text = substr(line, parts[3])
        } else if (number > parts[2] && number <= parts[2] + 2) {
            text = text " " line
        }
    }
    close(parts[1])
    return text
}

# The name by which a call goes: a member's, a parameter's with (), or "os" for the shim.
function name_of(place,    text)
{
    text = text_of(place)
    # The pointer to the table may come from a function.
    sub(/^[a-z_]+\([a-z>-]+\)->/, "->", text)
    if (match(text, /^[a-z_]+\(/) && substr(text, 1, RLENGTH - 1) !~ /^piommu_/) {
        return substr(text, 1, RLENGTH - 1) "()"
    }
    if (match(text, /os->[a-z_]+\(/) && text !~ /^[^(]*backend->/) {
        return "os"
    }
    if (match(text, /(->|\.)[a-z_0-9]+\(/)) {
        text = substr(text, RSTART, RLENGTH - 1)
        sub(/^(->|\.)/, "", text)
        return text
    }
    return "?"
}

# How functions are left, from the assembly beside a graph: what they call, and to what they jump.
function read_assembly(graph,    file, line, words, symbol, target, lines)
{
    file = graph
    sub(/ci$/, "s", file)
    while ((getline line < file) > 0) {
        lines++
        if (line ~ /^[A-Za-z_][A-Za-z_0-9.$]*:/) {
            symbol = line
            sub(/:.*/, "", symbol)
            sub(/\.cold(\.[0-9]+)?$/, "", symbol)
            continue
        }
        split(line, words)
        target = words[2]
        sub(/[@(,].*/, "", target)
        if (line ~ /^\t(bx\tlr|jr\tra|ret|ret\t.*)$/) {
            continue # a return
        }
        # Whatever can be a call, also one that depends on a condition, is one; a jump is only what is known to be one.
        if (line ~ /^\t(blr|jalr)\t/ || line ~ /^\tcall\t\*/ ||
            (line ~ /^\tblx?(eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?\t/ && target ~ /^(r[0-9]+|ip|fp|sl|lr)$/)) {
            calls[graph, symbol, "*"] = 1
        } else if (line ~ /^\t(blx?(eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?|call)\t/) {
            calls[graph, symbol, target] = 1
        } else if (line ~ /^\t(br|bx|jr)\t/ || line ~ /^\tjmp\t\*/) {
            jumps[graph, symbol, "*"] = 1
        } else if (line ~ /^\t(b|b\.w|jmp|tail)\t/) {
            jumps[graph, symbol, target] = 1
        }
    }
    close(file)
    if (!lines) {
        complain(file ": there is no assembly beside the graph")
    }
}

function symbol_of(title)
{
    sub(/.*:/, "", title)
    return title
}

# Whether a function leaves by a jump when it calls another; or, if that is "*", when it calls by pointer.
function is_jump(from, to,    symbol)
{
    symbol = symbol_of(from)
    to = symbol_of(to)
    return (graph_of[from], symbol, to) in jumps && !((graph_of[from], symbol, to) in calls)
}

function add_edge(from, to, jump,    name)
{
    name = symbol_of(to)
    sub(/\..*/, "", name) # what was made of it is meant, too
    if (name in unreached) {
        return
    }
    if (!((from, to) in known_edge)) {
        known_edge[from, to] = 1
        edges[from] = edges[from] " " to
    }
    if (!jump) {
        keeps_frame[from, to] = 1
    }
}

# Edges to functions of these titles.
function add_targets(from, titles, name,    list, count, i)
{
    count = split(titles, list, " ")
    for (i = 1; i <= count; i++) {
        # What hands a callback of the host on, under the same name, does not call itself.
        if (list[i] in size && !(list[i] == from && index(pointers[name] " ", " host "))) {
            add_edge(from, list[i], is_jump(from, "*"))
        }
    }
}

function add_pointer_edges(from, place,    name, targets, count, i)
{
    name = name_of(place)
    # If the assembly is of a kind that is not known here, this is where it shows.
    if (!((graph_of[from], symbol_of(from), "*") in calls) && !((graph_of[from], symbol_of(from), "*") in jumps)) {
        complain(place ": a call by pointer that is not in the assembly of " symbol_of(from))
    }
    if (name == "os") {
        return
    }
    # What is not linked cannot be called: a backend without such a member, beside one that has it.
    count = split(functions[name] " " pointers[name], targets, " ")
    for (i = 1; i <= count; i++) {
        add_targets(from, targets[i] in size ? targets[i] : optimised[targets[i]], name)
    }
    used[name] = 1
    if (count == 0) {
        complain(place ": a call by pointer that nobody knows: " name)
    }
}

# The longest chain from a function; its next link goes to best[], and what its own frame adds to it to frame[].
function depth(function_name,    targets, count, i, deepest, below, own)
{
    if (function_name in depths) {
        return depths[function_name]
    }
    if (function_name in active) {
        print "recursion", substr(way, index(way " ", " " function_name " ") + 1), function_name
        return 0
    }
    active[function_name] = 1
    way = way " " function_name
    deepest = frame[function_name] = size[function_name]
    best[function_name] = ""
    count = split(edges[function_name], targets, " ")
    for (i = 1; i <= count; i++) {
        own = (function_name, targets[i]) in keeps_frame ? size[function_name] : 0
        below = own + depth(targets[i])
        if (below > deepest) {
            deepest = below
            best[function_name] = targets[i]
            frame[function_name] = own
        }
    }
    delete active[function_name]
    sub(/ [^ ]*$/, "", way)
    depths[function_name] = deepest
    return deepest
}

function quoted(text, name)
{
    if (!match(text, name ": \"[^\"]*\"")) {
        return ""
    }
    return substr(text, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
}

FNR == 1 {
    file_number++
    if (file_number > 2) {
        read_assembly(FILENAME)
    }
}

/^#/ || NF == 0 {
    next
}

file_number == 1 {
    for (i = 2; i <= NF; i++) {
        pointers[$1] = pointers[$1] " " $i
    }
    next
}

file_number == 2 {
    functions[$2] = functions[$2] " " $1 ":" $3 " " $3
    next
}

/^node:/ {
    title = quoted($0, "title")
    count = split(quoted($0, "label"), parts, "\\\\n")
    if (count < 3) {
        if (title ~ /^piommu_/) {
            wanted[title] = 1
        }
        next
    }
    split(parts[3], words, " ")
    if (parts[3] !~ /\((static|dynamic,bounded)\)/) {
        complain(title ": a frame without a bound: " parts[3])
    }
    size[title] = words[1] + 0
    graph_of[title] = FILENAME
    split(parts[2], place, ":")
    home[title] = place[1]
    # Link-time optimisation makes almost all functions static ones of an archive, under names with something behind.
    name = title
    if (title ~ /@.*:/ || title ~ /\.[a-z_]+\.[0-9]+$/) {
        sub(/.*:/, "", name)
        sub(/\..*/, "", name)
        optimised[place[1] ":" name] = optimised[place[1] ":" name] " " title
        if (name ~ /^piommu_/) {
            optimised[name] = optimised[name] " " title
        }
    }
    next
}

/^edge:/ {
    edge_count++
    edge_from[edge_count] = quoted($0, "sourcename")
    edge_to[edge_count] = quoted($0, "targetname")
    edge_place[edge_count] = quoted($0, "label")
}

END {
    count = split(components, prefixes, " ")
    while (never != "" && (getline line < never) > 0) {
        words_count = split(line, words, " ")
        for (i = 2; i <= words_count && words[1] !~ /^#/; i++) {
            for (j = 1; j <= count; j++) {
                if (prefixes[j] == words[1]) {
                    named[words[i]]++
                }
            }
            if (named[words[i]] == count) {
                unreached[words[i]] = 1
            }
        }
    }
    for (name in wanted) {
        if (!(name in size)) {
            complain(name ": its graph is missing")
        }
    }
    for (i = 1; i <= edge_count; i++) {
        if (edge_to[i] == "__indirect_call") {
            add_pointer_edges(edge_from[i], edge_place[i])
        } else if (edge_to[i] in size) {
            add_edge(edge_from[i], edge_to[i], is_jump(edge_from[i], edge_to[i]))
        }
    }
    count = split(components, prefixes, " ")
    for (i = 1; i <= count; i++) {
        worst = -1
        for (title in size) {
            if (title !~ /:/ && index(home[title], prefixes[i]) == 1 &&
                (depth(title) > worst || (depth(title) == worst && title < entry))) {
                worst = depth(title)
                entry = title
            }
        }
        if (worst < 0) {
            complain(prefixes[i] ": nothing is there")
        }
        chain = ""
        for (title = entry; title != ""; title = best[title]) {
            name = title
            sub(/.*:/, "", name)
            chain = chain " " name "/" frame[title]
        }
        print prefixes[i], worst chain
    }
    exit failed
}
