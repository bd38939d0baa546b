// The slides of the run and their image files.
def slides = [
@SLIDES@
]

def withoutSuffix = { String name -> name.replaceFirst('\\.[^.]*$', '') }
// Slides with one of these names. The id comes before the file name, because two folders may
// contain files of the same name.
def slidesNamed = { names ->
    def matches = [
        { slide, name -> slide.id.equalsIgnoreCase(name) },
        { slide, name -> slide.id.equalsIgnoreCase(withoutSuffix(name)) },
        { slide, name -> slide.file.equalsIgnoreCase(name) },
        { slide, name ->
            slide.file && withoutSuffix(slide.file).equalsIgnoreCase(withoutSuffix(name))
        },
    ]
    for (match in matches) {
        for (name in names) {
            def matching = slides.findAll { match(it, name) }
            if (matching) {
                return matching
            }
        }
    }
    return []
}

def image = getCurrentImageName()
def files = getCurrentServer().getURIs().collect {
    it.getPath() ? new File(it.getPath()).getName() : ''
}
def candidates = slidesNamed(([image] + files).findAll { it })
if (candidates.size() > 1) {
    def ids = candidates.collect { it.id }.join(' or ')
    println "${image}: NOT DONE, it may be ${ids}; rename the image in the project to one of these"
    return
}
