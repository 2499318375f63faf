# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Sourced by the scripts that download a package of the machine's own Debian release without installing
# it: apt-get with a state of its own. Neither dpkg nor the machine's apt is touched, and root is not
# needed.

# These two print "URI KEYRING" for each source of the release's component main in apt's lists; KEYRING
# may be empty. Other suites (updates, security) are left out: what the scripts ask for is not in them,
# and ports may lack them.
sources_of_lists()
{
    awk -v codename="$codename" '
        $1 != "deb" { next }
        {
            keyring = ""
            field = 2
            if ($2 ~ /^\[/) {               # options: [ name=value ... ], blanks as they come
                for (;;) {
                    option = $field
                    gsub(/[][]/, "", option)
                    if (option ~ /^signed-by=\//)
                        keyring = substr(option, 11)
                    if ($field ~ /\]$/ || field >= NF)
                        break
                    field++
                }
                field++
            }
            for (i = field + 2; i <= NF && $i !~ /^#/; i++)
                if ($(field + 1) == codename && $i == "main")
                    print $field, keyring
        }' "$@"
}

sources_of_deb822()
{
    awk -v codename="$codename" '
        function has(list, word)
        {
            return index(" " list " ", " " word " ") > 0
        }
        function finish(    uris, count, i)
        {
            if (has(f["types"], "deb") && has(f["suites"], codename) &&
                has(f["components"], "main") && f["enabled"] !~ /^(no|false|off|0)$/) {
                count = split(f["uris"], uris, " ")
                for (i = 1; i <= count; i++)
                    print uris[i], (f["signed-by"] ~ /^\/[^ ]*$/ ? f["signed-by"] : "")
            }
            delete f
            name = ""
        }
        FNR == 1 { finish() }
        /^#/ { next }
        /^[ \t]*$/ { finish(); next }
        {
            line = $0
            if (line !~ /^[ \t]/) {         # else it continues the field before
                name = tolower(line)
                sub(/[ \t]*:.*/, "", name)
                sub(/^[^:]*:/, "", line)
            }
            gsub(/[ \t]+/, " ", line)
            f[name] = f[name] line
            gsub(/ +/, " ", f[name])
            sub(/^ /, "", f[name])
            sub(/ $/, "", f[name])
        }
        END { finish() }' "$@"
}

# apt_private_set_up FOLDER TYPE [OPTIONS]
#
# Prepares FOLDER, which exists and is empty, as the state of apt_private. TYPE is deb or deb-src, OPTIONS
# what goes between the brackets of a line in sources.list, e.g. arch=arm64. The mirrors are those of the
# machine's own sources. Sets apt_private_release and apt_private_mirrors for messages. Returns 1, after
# saying why, if this is no Debian or has no usable source.
apt_private_set_up()
{
    local folder=$1 type=$2 options=${3-} tool codename list='' parts='' sources file lists=() deb822=()

    for tool in apt-get apt-config dpkg awk; do
        if [[ -z $(type -P "$tool") ]]; then
            echo "needs $tool, so a Debian machine" >&2
            return 1
        fi
    done
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
    if [[ -z $codename ]]; then
        echo "/etc/os-release has no VERSION_CODENAME: which release is this?" >&2
        return 1
    fi

    # Where apt's sources are; /etc/apt/sources.list and /etc/apt/sources.list.d usually.
    eval "$(apt-config shell list Dir::Etc::SourceList/f parts Dir::Etc::SourceParts/d)"
    for file in "$list" "$parts"*.list; do
        [[ ! -f $file ]] || lists+=("$file")
    done
    for file in "$parts"*.sources; do
        [[ ! -f $file ]] || deb822+=("$file")
    done
    sources=$(
        [[ ${#lists[@]} -eq 0 ]] || sources_of_lists "${lists[@]}"
        [[ ${#deb822[@]} -eq 0 ]] || sources_of_deb822 "${deb822[@]}"
    )
    if [[ -z $sources ]]; then
        echo "apt's sources ($list, $parts) name no mirror with component main of $codename" >&2
        return 1
    fi

    mkdir -p "$folder/lists/partial" "$folder/archives/partial"
    : >"$folder/status"
    local uri keyring brackets
    while read -r uri keyring; do
        brackets="$options${keyring:+ signed-by=$keyring}"
        echo "$type ${brackets:+[ $brackets ]} $uri $codename main"
    done <<<"$sources" >"$folder/sources.list"

    apt_private_folder=$folder
    # Both are for the caller.
    # shellcheck disable=SC2034
    apt_private_release=$codename
    # shellcheck disable=SC2034
    apt_private_mirrors=$(sed 's/ .*//; s,//[^/@]*@,//,' <<<"$sources" | paste -sd' ')
}

# apt_private ARGUMENT...: apt-get with the state that apt_private_set_up made.
apt_private()
{
    apt-get -qq \
        -o Dir::Etc::SourceList="$apt_private_folder/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::lists="$apt_private_folder/lists" -o Dir::State::status="$apt_private_folder/status" \
        -o Dir::Cache="$apt_private_folder" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}
