// The slides of the run, and their image files.
def slides = [
@SLIDES@
]

def stem = { String name -> name.replaceFirst('\\.[^.]*$', '') }
// Slides that an image's names fit: an id counts more than the name of a file, for two folders may hold files of one name.
def fitting = { names ->
    def ways = [
        { slide, name -> slide.id.equalsIgnoreCase(name) },
        { slide, name -> slide.id.equalsIgnoreCase(stem(name)) },
        { slide, name -> slide.file.equalsIgnoreCase(name) },
        { slide, name -> slide.file && stem(slide.file).equalsIgnoreCase(stem(name)) },
    ]
    for (way in ways) {
        for (name in names) {
            def found = slides.findAll { way(it, name) }
            if (found) {
                return found
            }
        }
    }
    return []
}

def image = getCurrentImageName()
def files = getCurrentServer().getURIs().collect { it.getPath() ? new File(it.getPath()).getName() : '' }
def found = fitting(([image] + files).findAll { it })
if (found.size() > 1) {
    println "${image}: NOT DONE, it may be ${found.collect { it.id }.join(' or ')}; rename the image in the project to one of these"
    return
}
